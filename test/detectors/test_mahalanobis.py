"""Pooled features, tied Gaussians, their combination and the Mahalanobis detector."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import oas
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from support.colour_network import (
    HEIGHT,
    PATCH,
    WIDTH,
    normal_frames,
    some_images,
    watched_network,
)
from support.solid_colours import solid_frames

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.layer_density.class_density import (
    ClassDensity,
    Pooled,
    class_means,
    frame_means,
)
from offline_training.detectors.layer_density.held_out import split, thinned
from offline_training.detectors.layer_density.layer_combination import LayerCombination, separation
from offline_training.detectors.layer_density.layer_densities import Vectors, against_prediction
from offline_training.detectors.layer_density.tied_gaussian import ClassMoments, TiedGaussian
from offline_training.detectors.mahalanobis.mahalanobis import Mahalanobis, TapDistance

CPU = torch.device('cpu')


def vectors(classes: int = 3, channels: int = 4, count: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, channels)) @ rng.normal(size=(channels, channels))
    c = rng.integers(0, classes, count)
    x += 5 * rng.normal(size=(classes, channels))[c]
    return torch.from_numpy(x).float(), torch.from_numpy(c)


def fitted(x: torch.Tensor, c: torch.Tensor, classes: int, cut: float = 1e-4) -> TiedGaussian:
    moments = ClassMoments(classes, x.shape[1], CPU)
    moments.update(x, c)
    return TiedGaussian.of(moments, cut)


# Pooling


@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
@settings(max_examples=15, deadline=None)
def test_class_means_are_those_of_a_loop_over_cells(batch, classes, channels, factor, seed):
    rng = np.random.default_rng(seed)
    height, width = 4, 6
    tap = rng.normal(size=(batch, channels, height, width)).astype(np.float32)
    labels = rng.integers(0, classes + 1, (batch, height * factor, width * factor))
    values, present = class_means(torch.from_numpy(tap), torch.from_numpy(labels), classes, 0.1)
    for b in range(batch):
        for k in range(classes):
            total, weight = np.zeros(channels), 0.0
            for row in range(height):
                for column in range(width):
                    cell = labels[
                        b,
                        row * factor : (row + 1) * factor,
                        column * factor : (column + 1) * factor,
                    ]
                    share = (cell == k).mean()
                    total += share * tap[b, :, row, column]
                    weight += share
            assert present[b, k] == ((labels[b] == k).mean() >= 0.1)
            if weight:
                np.testing.assert_allclose(values[b, k], total / weight, atol=1e-5)


def test_an_empty_class_is_absent_even_without_a_minimum():
    labels = torch.tensor([[[0, 2], [2, 7]]])
    _, present = class_means(torch.ones(1, 1, 2, 2), labels, 3, 0.0)
    assert present.tolist() == [[True, False, True]]


def test_frame_means_average_the_map():
    tap = torch.randn(2, 3, 4, 5)
    values, present = frame_means(tap, class_known=True)
    np.testing.assert_allclose(values[:, 0], tap.numpy().mean((2, 3)), atol=1e-6)
    assert present.all()
    assert frame_means(tap, class_known=False).present is None


# Moments and Gaussians


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([0.0, 1e4]))
@settings(max_examples=15, deadline=None)
def test_moments_of_a_stream_are_those_of_the_whole(sizes, offset):
    x, c = vectors(count=sum(sizes), seed=len(sizes))
    x = x.double() + offset
    moments = ClassMoments(4, 4, CPU)
    for part, classes in zip(x.split(sizes), c.split(sizes), strict=True):
        moments.update(part, classes)
    scatter = np.zeros((4, 4))
    for k in range(4):
        own = x[c == k].numpy()
        assert moments.count[k] == len(own)
        if len(own):
            np.testing.assert_allclose(moments.mean[k], own.mean(0), rtol=1e-12, atol=1e-9)
            scatter += (own - own.mean(0)).T @ (own - own.mean(0))
    np.testing.assert_allclose(moments.scatter, scatter, rtol=1e-9, atol=1e-7)


def tied_reference(x: torch.Tensor, c: torch.Tensor, classes: int):
    """Class means and the shrunk covariance of all, by NumPy and scikit-learn."""
    x, c = x.double().numpy(), c.numpy()
    means = np.stack([x[c == k].mean(0) for k in range(classes)])
    return means, oas(x - means[c], assume_centered=True)[0]


def test_log_density_is_scipys():
    x, c = vectors()
    density = ClassDensity(fitted(x, c, 3))
    means, covariance = tied_reference(x, c, 3)
    at = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)) * 5
    log_prob = density.log_prob(at[:, None].expand(-1, 3, -1))
    for k in range(3):
        expected = multivariate_normal(means[k], covariance).logpdf(at.numpy())
        np.testing.assert_allclose(log_prob[:, k], expected, rtol=1e-4)


def test_many_vectors_are_hardly_shrunk():
    x, c = vectors(count=20000)
    means, covariance = tied_reference(x, c, 3)
    centred = x.double().numpy() - means[c]
    np.testing.assert_allclose(covariance, centred.T @ centred / len(x), atol=1e-3)
    white = fitted(x, c, 3).of_class(x, c)
    np.testing.assert_allclose(torch.cov(white.T, correction=0), np.eye(4), atol=0.02)


def test_shrinkage_keeps_held_out_distances_small():
    """With as many vectors as channels an unshrunk covariance explodes on new vectors."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1, 61) ** -1.0
    x, new = (torch.randn(70, 60, generator=generator) * scale for _ in range(2))
    c = torch.zeros(70, dtype=torch.long)
    gaussian = fitted(x, c, 1)
    plain = np.linalg.pinv(np.cov(x.T, bias=True))
    distance = np.einsum('ni,ij,nj->n', new, plain, new).mean()
    assert gaussian.of_class(new, c).square().sum(1).mean() < 0.25 * distance


def test_degenerate_directions_are_cut_whatever_the_unit():
    x, c = vectors(count=20000)
    doubled = torch.cat([x, x[:, :1] + x[:, 1:2], torch.zeros(len(x), 1)], dim=1)
    logs = []
    for unit in (1.0, 1e-4, 1e4):
        gaussian = fitted(unit * doubled, c, 3, cut=0.05)
        assert gaussian.whitening.shape == (4, 6)
        log_prob = ClassDensity(gaussian).log_prob((unit * doubled[:9])[:, None].expand(-1, 3, -1))
        logs.append(log_prob + 4 * math.log(unit))
    torch.testing.assert_close(logs[1], logs[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(logs[2], logs[0], rtol=1e-3, atol=1e-3)


def test_vectors_without_spread_are_refused():
    moments = ClassMoments(2, 3, CPU)
    moments.update(torch.ones(5, 3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match='5 feature vectors do not vary'):
        TiedGaussian.of(moments, 1e-4)


def test_score_of_an_unknown_class_is_that_of_the_nearest_seen_one():
    x, c = vectors()
    density = ClassDensity(fitted(x, c, 5))  # classes 3 and 4 were never seen
    score = density(Pooled(x[:, None], None))
    means, covariance = tied_reference(x, c, 3)
    expected = -np.max(
        [multivariate_normal(mean, covariance).logpdf(x.numpy()) for mean in means], axis=0
    )
    np.testing.assert_allclose(score, expected, rtol=1e-3, atol=1e-3)


def test_score_of_known_classes_is_the_mean_of_those_present():
    x, c = vectors(count=600)
    density = ClassDensity(fitted(x, c, 4))  # class 3 was never seen
    own = density.log_prob(x[:, None].expand(-1, 4, -1)).gather(1, c[:, None])[:, 0]
    density.standardise(own, c)
    for k in range(3):
        standard = (-own[c == k] - density.center[k]) / density.spread[k]
        assert standard.mean().item() == pytest.approx(0, abs=1e-4)
        assert standard.std().item() == pytest.approx(1, abs=1e-4)
    values = torch.stack([x[c == k][0] for k in (0, 1, 2, 2)])[None].repeat(3, 1, 1)
    values[:, 1] += 100  # class 1 is far out
    score = density(
        Pooled(
            values,
            torch.tensor(
                [
                    [True, True, True, True],
                    [True, False, True, True],
                    [False, False, False, True],
                ]
            ),
        )
    )
    each = [
        (-own[c == k][0] - density.center[k]).item() / density.spread[k].item() for k in (0, 2)
    ]
    assert score[0] > 20
    assert score[1].item() == pytest.approx(sum(each) / 2, abs=1e-3)
    assert score[2] == 0  # nothing known to look at


# Combination


def test_combination_is_the_logistic_regression_on_standardised_scores():
    rng = np.random.default_rng(0)
    normal, attacked = rng.normal(size=(80, 3)), rng.normal((1, 2, 0.5), 1, (40, 3))
    x = np.concatenate([normal, attacked]) * (1, 100, 0.01) + (5, -50, 0)
    y = np.repeat([0, 1], [80, 40])
    combination = LayerCombination()
    combination.fit(torch.from_numpy(x[:80]), torch.from_numpy(x[80:]))
    standard = (x - x.mean(0)) / x.std(0)
    expected = LogisticRegression(class_weight='balanced').fit(standard, y)
    np.testing.assert_allclose(
        combination(torch.from_numpy(x).float()), expected.decision_function(standard), atol=1e-3
    )


def test_no_layer_may_call_the_strange_normal():
    rng = np.random.default_rng(0)
    normal = torch.from_numpy(rng.normal(size=(60, 3)))
    attacked = torch.from_numpy(rng.normal((3, -3, 0), 1, (60, 3)))
    combination = LayerCombination()
    combination.fit(normal, attacked)
    assert combination.weight[1] == 0
    assert combination.weight[0] > 0
    combination.fit(normal, normal - 1)  # the attack lowers everything
    assert (combination.weight > 0).all()
    combination.fit(torch.ones(5, 2), torch.ones(5, 2))  # nothing to see at all
    assert torch.isfinite(combination(torch.ones(1, 2))).all()


def test_separation_is_high_for_separable_scores_only():
    rng = np.random.default_rng(0)
    normal, same = torch.from_numpy(rng.normal(size=(2, 40, 2, 3))).float()
    assert separation(normal, same[:, 0] + 4) > 0.95
    assert separation(normal, same[:, 0]) < 0.75


@given(st.integers(8, 2000))
@settings(deadline=None)
def test_one_piece_of_the_frames_is_held_out(count):
    learned, held_out = split(count)
    assert sorted([*learned, *held_out]) == list(range(count))
    assert 1 / 8 <= len(held_out) / count <= 1 / 3
    for piece in (learned, held_out):
        assert (np.diff(piece) == 1).all()


@given(st.integers(1, 300), st.integers(2, 80))
@settings(deadline=None)
def test_thinned_frames_are_evenly_spread_from_first_to_last(count, most):
    chosen = 3 * np.arange(count)
    kept = thinned(chosen, most)
    assert len(kept) == min(count, most)
    assert set(kept) <= set(chosen)
    assert {chosen[0], chosen[-1]} <= set(kept) or count == 1
    gaps = np.diff(kept)
    assert (gaps > 0).all()
    if len(gaps):
        assert gaps.max() - gaps.min() <= 3


# Maps


def test_distance_of_a_cell_is_that_of_the_nearest_class():
    x, c = vectors()
    distance = TapDistance.of(fitted(x, c, 5))
    tap = 4 * torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    means, covariance = tied_reference(x, c, 3)
    inverse = np.linalg.inv(covariance)
    difference = tap.movedim(1, 3).double().numpy()[..., None, :] - means
    expected = np.einsum('bhwki,ij,bhwkj->bhwk', difference, inverse, difference).min(-1) / 4
    np.testing.assert_allclose(distance.squared(tap)[:, 0], expected, rtol=1e-3)


def test_distances_of_far_outliers_stay_finite_in_half_precision():
    x, c = vectors(channels=64, count=2000)
    distance = TapDistance.of(fitted(x, c, 3)).half()
    assert torch.isfinite(distance.squared(10 * x[:1, :, None, None].half())).all()


# Detector


@pytest.fixture(scope='module')
def watched():
    return watched_network()


@pytest.fixture(scope='module')
def detector(watched):
    return Mahalanobis().fit(watched, normal_frames(32))


def auroc(normal: torch.Tensor, unknown: torch.Tensor) -> float:
    truth = [0] * len(normal) + [1] * len(unknown)
    return float(roc_auc_score(truth, torch.cat([normal, unknown])))


def test_unknown_frames_and_pixels_score_higher(watched, detector):
    with torch.inference_mode():
        normal = detector.score_frame(watched, some_images(unknown=False, count=16))
        unknown = detector.score_frame(watched, some_images(unknown=True, count=16))
        scores = detector.score_map(watched, some_images(unknown=True, count=16))
    assert auroc(normal, unknown) > 0.95
    assert scores.shape == (16, HEIGHT // 4, WIDTH // 4)
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[PATCH] = True
    inside = inside[::4, ::4]
    assert auroc(scores[:, ~inside].flatten(), scores[:, inside].flatten()) > 0.9


def test_a_step_against_the_score_lowers_it(watched, detector):
    images = some_images(unknown=True)
    plain = detector.layer_scores(watched, images)
    detector.settings['magnitudes'] = [0.01]
    try:
        with torch.inference_mode():
            stepped = detector.layer_scores(watched, images)
    finally:
        detector.settings['magnitudes'] = [0.0]
    assert stepped.shape == plain.shape == (3, 4)
    assert not stepped.requires_grad
    assert (stepped < plain).all()


def test_magnitude_is_chosen_and_its_cost_stated(watched, tmp_path):
    before = {name: tensor.clone() for name, tensor in watched.state_dict().items()}
    chosen = Mahalanobis(taps=['late'], magnitudes=(1.0, 0.5)).fit(watched, normal_frames(16))
    assert chosen.settings['magnitudes'] in ([0.5], [1.0])
    assert chosen.spec.gradients
    assert chosen.spec.passes == 3
    assert not chosen.spec.exportable
    assert not Mahalanobis().spec.gradients
    chosen.save(tmp_path / 'm.safetensors')
    loaded = Mahalanobis.load(tmp_path / 'm.safetensors')
    assert loaded.spec == chosen.spec
    images = some_images(unknown=True)
    assert torch.equal(loaded.score_frame(watched, images), chosen.score_frame(watched, images))
    # Gradients through the network leave nothing behind in it.
    after = watched.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(p.grad is None and not p.requires_grad for p in watched.parameters())
    assert not watched.network.training


def test_a_second_fit_chooses_from_all_magnitudes_again(watched):
    frames = normal_frames(16)
    chosen = Mahalanobis(taps=['late'], magnitudes=(1.0, 0.0), weighing='mean')
    chosen.fit(watched, frames)
    first = chosen.settings['magnitudes'], chosen.spec
    chosen.offered = (0.0,)
    chosen.fit(watched, frames)
    assert not chosen.spec.gradients
    assert chosen.spec.exportable
    chosen.offered = (1.0, 0.0)
    chosen.fit(watched, frames)
    assert (chosen.settings['magnitudes'], chosen.spec) == first


def test_no_class_in_the_held_out_frames_is_told(watched):
    classes = Mahalanobis(taps=['late'], whole_frame=False).fit(watched, normal_frames())
    (density,) = classes.densities
    nothing = Vectors(
        torch.empty(0, density.gaussian.means.shape[1]),
        torch.empty(0, dtype=torch.long),
        len(density.center),
    )
    with pytest.raises(ValueError, match='no class in the held-out frames'):
        classes._calibrate(watched, normal_frames(), np.arange(2), [nothing])


@pytest.mark.parametrize('magnitudes', [(), (-1.0,), (math.nan,)])
def test_impossible_magnitudes_are_refused(magnitudes):
    with pytest.raises(ValueError, match='magnitudes'):
        Mahalanobis(magnitudes=magnitudes)


def test_fgsm_steps_away_from_the_prediction(watched):
    images = some_images(unknown=False)
    stepped = against_prediction(watched, images, 2.5)
    assert (stepped - images.float()).abs().max() == 2.5
    assert stepped.min() >= 0
    assert stepped.max() <= 255
    labels = watched(images).argmax(1)
    loss = torch.nn.functional.cross_entropy
    assert loss(watched(stepped), labels) > loss(watched(images), labels)


def test_a_classifier_has_frame_scores_and_no_map():
    classifier = watched_network(classify=True)
    detector = Mahalanobis().fit(classifier, solid_frames(48))
    normal, unknown = (
        torch.from_numpy(np.stack(solid_frames(16, 1, kind).images)) for kind in (False, True)
    )
    assert detector.layer_scores(classifier, normal).shape == (16, 2)
    scores = [detector.score_frame(classifier, images) for images in (normal, unknown)]
    assert auroc(*scores) > 0.95
    with pytest.raises(TypeError, match='no map'):
        detector.score_map(classifier, normal)


def test_frames_of_void_alone_have_a_score(watched, detector):
    dark = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)
    assert (watched(dark).argmax(1) == 3).all()
    score = detector.score_frame(watched, dark)
    assert score.isfinite().all()
    assert score > detector.score_frame(watched, some_images(unknown=False)).max()


def test_layers_may_be_of_classes_only_and_count_the_same(watched):
    detector = Mahalanobis(whole_frame=False, weighing='mean').fit(watched, normal_frames())
    images = some_images(unknown=True)
    layers = detector.layer_scores(watched, images)
    assert layers.shape == (len(images), 2)  # one per tap
    torch.testing.assert_close(detector.score_frame(watched, images), layers.mean(dim=1))
    with pytest.raises(ValueError, match='regression'):
        Mahalanobis(weighing='median')


def test_mistakes_are_named(watched):
    with pytest.raises(ValueError, match='7 frames are too few'):
        Mahalanobis().fit(watched, normal_frames(7))
    with pytest.raises(NotApplicableError, match="no tap 'conv9' but early, late"):
        Mahalanobis(taps=['conv9']).fit(watched, normal_frames(8))
