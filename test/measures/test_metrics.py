from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from offline_training.measures.pixel_curve import CELLS, PixelCurve, key_scores, ordered_keys
from offline_training.measures.segmentation import ConfusionMatrix


def sklearn_values(scores, truth):
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    return (
        average_precision_score(truth, scores),
        fpr[np.argmax(tpr >= 0.95)],
        roc_auc_score(truth, scores),
    )


@pytest.mark.parametrize('seed', [0, 1])
def test_continuous_scores_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(400_000) < 0.02
    scores = (rng.normal(size=truth.size) * 3 + 2 * truth - 5).astype(np.float32)
    curve = PixelCurve()
    for part in range(0, truth.size, 70_000):
        curve.update(scores[part : part + 70_000], truth[part : part + 70_000])
    got = (curve.ap(), curve.fpr95(), curve.auroc())
    assert got == pytest.approx(sklearn_values(scores, truth), abs=2e-4)


def test_many_ties_are_exact():
    rng = np.random.default_rng(3)
    truth = rng.random(20_000) < 0.3
    scores = np.round(rng.normal(size=truth.size) + truth).astype(np.float32)
    curve = PixelCurve()
    curve.update(scores, truth)
    got = (curve.ap(), curve.fpr95(), curve.auroc())
    assert got == pytest.approx(sklearn_values(scores, truth), abs=1e-12)


def test_merging_equals_one_pass():
    rng = np.random.default_rng(4)
    scores, truth = rng.normal(size=(8, 50)).astype(np.float32), rng.random((8, 50)) < 0.5
    whole, first, second = PixelCurve(), PixelCurve(), PixelCurve()
    whole.update(scores, truth)
    first.update(scores[:3], truth[:3])
    second.update(scores[3:], truth[3:])
    first.merge(second)
    assert first.report() == whole.report()


def test_keys_sort_as_the_floats_do():
    values = np.array(
        [-np.inf, -3e38, -1.5, -1e-40, -0.0, 0.0, 1e-40, 0.1, 7.0, np.inf], dtype=np.float32
    )
    keys = ordered_keys(values).astype(np.int64)
    assert (np.sign(np.diff(keys)) == np.sign(np.diff(values.astype(np.float64))))[1:-1].all()
    assert keys[4] == keys[5]


def test_a_flipped_sign_is_noticed_not_corrected():
    truth = np.arange(1000) < 100
    curve = PixelCurve()
    curve.update(-truth.astype(np.float32), truth)
    assert curve.looks_flipped()
    assert curve.auroc() == 0


@pytest.mark.parametrize(
    ('scores', 'truth', 'reason'),
    [
        (np.array([1.0, np.nan]), np.array([True, False]), 'NaN'),
        (np.zeros(3), np.zeros(2, dtype=bool), 'shape'),
    ],
)
def test_unusable_pixels_are_refused(scores, truth, reason):
    with pytest.raises(ValueError, match=reason):
        PixelCurve().update(scores, truth)


def test_one_kind_of_pixel_has_no_curve():
    curve = PixelCurve()
    curve.update(np.zeros(3), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match='no anomalous pixel'):
        curve.ap()


def curve_of(scores, truth, **options):
    curve = PixelCurve(**options)
    curve.update(np.asarray(scores, dtype=np.float32), np.asarray(truth, dtype=bool))
    return curve


def sklearn_measures(scores, truth):
    """Every measure from scikit-learn alone; "success" turns truth and score round."""

    def fpr95(positive, values):
        fpr, tpr, _ = roc_curve(positive, values, drop_intermediate=False)
        return fpr[np.argmax(tpr >= 0.95)]

    def trapezoids(positive, values):
        precision, recall, _ = precision_recall_curve(positive, values)
        return auc(recall, precision)

    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    anomaly, success = fpr95(truth, scores), fpr95(~truth, -scores)
    return {
        'auroc': roc_auc_score(truth, scores),
        'aupr_anomaly': average_precision_score(truth, scores),
        'aupr_success': average_precision_score(~truth, -scores),
        'auout': trapezoids(truth, scores),
        'auin': trapezoids(~truth, -scores),
        'fpr95_anomaly': anomaly,
        'fpr95_success': success,
        'tnr95_anomaly': 1 - anomaly,
        'tnr95_success': 1 - success,
        'detection_accuracy': np.max(tpr + 1 - fpr) / 2,
    }


def frames(kind):
    rng = np.random.default_rng(11)
    truth = rng.random(600) < 0.3
    scores = rng.normal(size=600) + truth
    if kind == 'ties':
        scores = np.round(scores)
    elif kind == 'log likelihoods':
        scores = 1234.5 + scores  # a large common offset must not eat the resolution
    return scores.astype(np.float32), truth


@pytest.mark.parametrize('kind', ['continuous', 'ties', 'log likelihoods'])
def test_every_measure_of_frames_is_exactly_that_of_scikit_learn(kind):
    scores, truth = frames(kind)
    got = curve_of(scores, truth).measures()
    assert got == pytest.approx(sklearn_measures(scores, truth), abs=1e-12)


@pytest.mark.parametrize('kind', ['continuous', 'ties', 'log likelihoods'])
def test_few_cells_come_close(kind):
    scores, truth = frames(kind)
    curve = curve_of(scores, truth, cells=128)
    assert len(curve.counts().scores) <= 256
    assert curve.measures() == pytest.approx(sklearn_measures(scores, truth), abs=0.02)


def formula_vectors(size):
    """Scores and truth that need no random generator; truth is more likely at high scores."""
    i = np.arange(1, size + 1)
    score = (i * 0.6180339887498949) % 1
    truth = (i * 0.7548776662466927) % 1 < score * score * 0.5
    return score.astype(np.float32), truth


# torchmetrics 1.9.0 on formula_vectors(n) in float64: binary_auroc, binary_average_precision and
# the first binary_roc point with tpr >= 0.95 of (score, truth); the latter two again of
# (1 - score, not truth). "ties" rounds the score to eighths.
TORCHMETRICS = {
    (2000, 'raw'): (0.79491991, 0.39195693, 0.95217490, 0.56498194, 0.79881656),
    (2000, 'ties'): (0.79080421, 0.36084664, 0.94245380, 0.62936223, 0.83136094),
    (10**7, 'raw'): (0.79999256, 0.39167085, 0.95332861, 0.56795323, 0.78509605),
}


def recorded_names():
    return 'auroc', 'aupr_anomaly', 'aupr_success', 'fpr95_anomaly', 'fpr95_success'


@pytest.mark.parametrize('kind', ['raw', 'ties'])
def test_measures_agree_with_torchmetrics(kind):
    scores, truth = formula_vectors(2000)
    if kind == 'ties':
        scores = np.round(scores * 8) / 8
    got = curve_of(scores, truth).measures()
    expected = dict(zip(recorded_names(), TORCHMETRICS[2000, kind], strict=True))
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_million_pixels_in_constant_memory():
    scores, truth = formula_vectors(10**7)
    # Both signs and a heavy tail, so that the cells have to be shared.
    scores = (np.tan(3 * (scores - 0.5)) + np.float32(0.1)).astype(np.float32)
    curve = PixelCurve()
    peaks = []
    tracemalloc.start()
    for part in np.array_split(np.arange(10**7), 50):
        piece, kinds = scores[part], truth[part]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        curve.update(piece, kinds)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert curve.shift > 0
    assert curve.nbytes < 12 * 2**20
    assert max(peaks) < 64 * 2**20
    assert max(peaks[-10:]) <= 1.1 * max(peaks[:30])
    got = curve.measures()
    assert got == pytest.approx(sklearn_measures(scores, truth), abs=1e-4)
    # The map above is monotone, so the values of the plain vectors hold for it as well.
    expected = dict(zip(recorded_names(), TORCHMETRICS[10**7, 'raw'], strict=True))
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-4)


# Few distinct values, so that ties are common; both classes are always present.
samples = st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: [*rows, (0, True), (1, False)]
)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def split(rows):
    return np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows])


@quick
@given(samples)
def test_measures_with_ties_are_those_of_scikit_learn(rows):
    scores, truth = split(rows)
    got = curve_of(scores, truth).measures()
    assert got == pytest.approx(sklearn_measures(scores, truth), abs=1e-9)


@quick
@given(samples)
def test_monotone_maps_change_nothing(rows):
    scores, truth = split(rows)
    expected = curve_of(scores, truth).measures()
    for mapped in (scores * 4 - 100, scores**3, np.exp2(scores), np.arctan(scores)):
        assert curve_of(mapped, truth).measures() == expected


@quick
@given(samples)
def test_turning_the_score_round_mirrors_the_measures(rows):
    scores, truth = split(rows)
    curve, turned = curve_of(scores, truth), curve_of(-scores, truth)
    assert turned.auroc() == pytest.approx(1 - curve.auroc())
    swapped = curve_of(-scores, ~truth)
    assert swapped.auroc() == pytest.approx(curve.auroc())
    assert swapped.detection_accuracy() == pytest.approx(curve.detection_accuracy())
    assert swapped.fpr95('anomaly') == curve.fpr95('success')
    assert swapped.ap('anomaly') == pytest.approx(curve.ap('success'))
    assert swapped.auout() == pytest.approx(curve.auin())


@quick
@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, width=32), st.booleans()), min_size=1, max_size=200
    ),
    st.integers(2, 50),
    st.integers(0, 200),
)
def test_merged_curves_are_one_curve_in_any_order(rows, cells, cut):
    scores, truth = split(rows)
    whole = curve_of(scores, truth, cells=cells)
    first = curve_of(scores[:cut], truth[:cut], cells=cells)
    second = curve_of(scores[cut:], truth[cut:], cells=cells)
    before = second.counts()
    first.merge(second)
    pieces = PixelCurve(cells)
    for row in rows[::-1]:
        pieces.update(np.array([row[0]], np.float32), np.array([row[1]]))
    for other in (first, pieces):
        for expected, got in zip(whole.counts(), other.counts(), strict=True):
            np.testing.assert_array_equal(got, expected)
    for expected, got in zip(before, second.counts(), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert sum(map(np.sum, whole.counts()[1:])) == len(rows)


@pytest.mark.parametrize('cut', [5, 595])
def test_curves_of_different_resolution_merge(cut):
    scores, truth = frames('continuous')
    whole = curve_of(scores, truth, cells=16)
    first = curve_of(scores[:cut], truth[:cut], cells=16)
    second = curve_of(scores[cut:], truth[cut:], cells=16)
    assert first.shift != second.shift
    first.merge(second)
    for expected, got in zip(whole.counts(), first.counts(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_keys_turn_back_into_scores():
    values = np.array([-np.inf, -3e38, -1.5, 0.0, 1e-40, 0.1, 7.0, np.inf], dtype=np.float32)
    np.testing.assert_array_equal(key_scores(ordered_keys(values)), values)
    assert key_scores(np.array([0], dtype=np.uint32))[0] == -np.inf


def test_infinite_scores_count():
    scores = np.array([np.inf, np.inf, 1, -np.inf], dtype=np.float32)
    curve = curve_of(scores, [True, True, False, False])
    assert curve.auroc() == 1
    assert list(curve.counts().scores) == [np.inf, 1, -np.inf]


def test_exactly_95_percent_is_enough_and_ties_are_taken_together():
    truth = np.arange(40) < 20
    scores = np.where(truth, 5.0, 1.0)
    scores[0] = 0.0  # one anomaly in twenty below every normal sample
    assert curve_of(scores, truth).fpr95() == 0
    scores[1] = 1.0  # now the tied normal samples come with the nineteenth
    assert curve_of(scores, truth).fpr95() == 1


def test_the_two_conventions_of_fpr95_differ():
    scores, truth = frames('continuous')
    curve = curve_of(scores, truth)
    assert abs(curve.fpr95('anomaly') - curve.fpr95('success')) > 0.01
    with pytest.raises(ValueError, match="'anomaly' or 'success'"):
        curve.fpr95('error')


@pytest.mark.parametrize('kind', ['continuous', 'ties'])
def test_no_threshold_has_a_better_f1(kind):
    scores, truth = frames(kind)
    threshold = curve_of(scores, truth).best_f1_threshold()
    precision, recall, _ = precision_recall_curve(truth, scores)
    best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-9))
    assert f1_score(truth, scores >= threshold) == pytest.approx(best)


def test_rates_are_the_curve_thinned():
    scores, truth = frames('continuous')
    rates = curve_of(scores, truth).rates(most=50)
    assert len(rates.tpr) <= 50
    assert (rates.tpr[0], rates.fpr[0], rates.precision[0]) == (0, 0, 1)
    assert (rates.tpr[-1], rates.fpr[-1]) == (1, 1)
    assert np.diff(rates.tpr + rates.fpr).max() < 0.06
    for threshold, tpr, fpr, precision in zip(*rates, strict=True):
        flagged = scores >= threshold
        assert tpr == pytest.approx(np.mean(flagged[truth]))
        assert fpr == pytest.approx(np.mean(flagged[~truth]))
        if flagged.any():
            assert precision == pytest.approx(np.mean(truth[flagged]))


def test_a_flipped_sign_is_warned_of_by_name():
    scores, truth = frames('continuous')
    warning = curve_of(-scores, truth).flip_warning('energy')
    assert warning is not None
    assert re.search("'energy'.*Higher must mean more anomalous", warning)
    assert curve_of(scores, truth).flip_warning('energy') is None


def test_a_image_within_the_cells_is_exact():
    rng = np.random.default_rng(12)
    scores = rng.normal(size=CELLS).astype(np.float32)
    curve = curve_of(scores, scores > 0)
    assert curve.shift == 0
    with pytest.raises(ValueError, match='at least 2'):
        PixelCurve(cells=1)


def random_maps():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 5, size=(60, 70)).astype(np.uint8)
    noise = rng.integers(0, 5, labels.shape)
    predictions = np.where(rng.random(labels.shape) < 0.6, labels, noise)
    labels[labels == 4] = 255
    predictions = predictions.astype(np.uint8)
    predictions[predictions == 4] = 255
    return labels, predictions


def test_void_protocols_agree_with_scikit_learn():
    labels, predictions = random_maps()
    matrix = ConfusionMatrix(4)
    matrix.update(labels[:20], predictions[:20])
    other = ConfusionMatrix(4)
    other.update(labels[20:], predictions[20:])
    matrix.merge(other)
    truth, guess = labels.ravel(), predictions.ravel()
    classes = list(range(4))

    def expected(keep):
        return jaccard_score(truth[keep], guess[keep], labels=classes, average=None)

    everything = np.ones(truth.shape, dtype=bool)
    valid = truth != 255
    np.testing.assert_allclose(matrix.iou('void_as_false_positive'), expected(everything))
    np.testing.assert_allclose(matrix.iou('void_ignored'), expected(valid))
    np.testing.assert_allclose(matrix.iou('drop_row_and_column'), expected(valid & (guess != 255)))
    np.testing.assert_array_equal(
        matrix.counts, confusion_matrix(truth, guess, labels=[*classes, 255])
    )
    assert matrix.pixel_accuracy() == pytest.approx(np.mean(truth[valid] == guess[valid]))


def test_a_class_that_never_occurs_does_not_count():
    labels = np.zeros((4, 4), dtype=np.uint8)
    matrix = ConfusionMatrix(3)
    matrix.update(labels, labels)
    assert matrix.miou() == 1
    assert matrix.report(['a', 'b', 'c'])['iou'] == {'a': 100.0, 'b': None, 'c': None}


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r'label 3 is outside 0\.\.2'):
        ConfusionMatrix(3).update(np.full((2, 2), 3), np.zeros((2, 2), dtype=int))
