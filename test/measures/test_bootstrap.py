"""Intervals over images against drawing and measuring the pixels themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from offline_training.measures.bootstrap import IMAGE_CELLS, bootstrap, bootstrap_curve
from offline_training.measures.components import ComponentScores, MinimumSize
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.measures.segmentation import ConfusionMatrix


def images(count=12, size=400, seed=0):
    """Scores and truth per image; images differ in how hard they are."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        truth = rng.random(size) < 0.2
        scores = rng.normal(size=size) + truth * rng.uniform(0, 3) + rng.normal()
        rows.append((scores.astype(np.float32), truth))
    return rows


def curves_of(rows, cells=IMAGE_CELLS):
    curves = []
    for scores, truth in rows:
        curves.append(PixelCurve(cells))
        curves[-1].update(scores, truth)
    return curves


def two_measures(curve):
    return {'auroc': curve.auroc(), 'ap': curve.ap()}


def test_intervals_are_those_of_pixels_drawn_by_image():
    rows = images()
    got = bootstrap_curve(curves_of(rows), np.random.default_rng(1), two_measures, 100, 0.9)
    draws = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=100)
    drawn = []
    for times in draws:
        scores = np.concatenate([np.repeat(s, n) for (s, _), n in zip(rows, times, strict=True)])
        truth = np.concatenate([np.repeat(t, n) for (_, t), n in zip(rows, times, strict=True)])
        drawn.append((roc_auc_score(truth, scores), average_precision_score(truth, scores)))
    scores, truth = (np.concatenate(part) for part in zip(*rows, strict=True))
    low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
    assert tuple(got['auroc']) == pytest.approx(
        (roc_auc_score(truth, scores), low[0], high[0], 100)
    )
    assert tuple(got['ap']) == pytest.approx(
        (average_precision_score(truth, scores), low[1], high[1], 100)
    )


def test_summaries_of_few_cells_come_close():
    rows = images(count=6, size=3000)
    exact = bootstrap_curve(curves_of(rows), np.random.default_rng(1), two_measures, 60)
    small = curves_of(rows, cells=1024)
    assert min(curve.shift for curve in small) > 0
    coarse = bootstrap_curve(small, np.random.default_rng(1), two_measures, 60)
    for name in exact:
        assert tuple(coarse[name]) == pytest.approx(tuple(exact[name]), abs=5e-3)


def test_a_summary_of_a_image_is_small():
    rng = np.random.default_rng(2)
    [curve] = curves_of([(rng.normal(size=172_800), rng.random(172_800) < 0.5)])
    curve.counts()
    assert curve.nbytes <= 96 * 1024


def test_images_of_different_resolution_fit_together():
    near = (np.array([1.0, 2.0, 3.0]), np.array([False, True, True]))
    many = (np.linspace(-5, 5, 5000), np.arange(5000) > 2500)
    intervals = bootstrap_curve(
        curves_of([near, many], cells=64), np.random.default_rng(0), resamples=20
    )
    assert 0.9 < intervals['auroc'].low <= intervals['auroc'].value <= 1


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        rows = np.stack([rng.normal(3.0, 1.0, 40), np.ones(40)], axis=1)
        interval = bootstrap(rows, lambda s: {'mean': s[0] / s[1]}, rng, 200, 0.9)['mean']
        covered += interval.low <= 3.0 <= interval.high
    assert 0.8 < covered / 200 < 0.95


def test_the_seed_decides():
    curves = curves_of(images())
    first, again, other = (
        bootstrap_curve(curves, np.random.default_rng(seed), two_measures, 50)
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first['ap'].low != other['ap'].low
    assert first['ap'].value == other['ap'].value


def test_every_measure_of_frames_has_an_interval():
    rng = np.random.default_rng(6)
    truth = rng.random(80) < 0.4
    frames = [
        (np.array([score]), np.array([kind]))
        for score, kind in zip(rng.normal(size=80) + truth, truth, strict=True)
    ]
    curves = curves_of(frames)
    intervals = bootstrap_curve(curves, np.random.default_rng(0), resamples=50)
    pooled = PixelCurve()
    for curve in curves:
        pooled.merge(curve)
    assert {name: i.value for name, i in intervals.items()} == pytest.approx(pooled.measures())
    assert all(0 <= i.low <= i.high <= 1 and i.low < i.high for i in intervals.values())


def test_resamples_without_an_anomaly_are_left_out_and_counted():
    normal = (np.arange(5.0), np.zeros(5, dtype=bool))
    mixed = (np.array([3.0, 9.0]), np.array([False, True]))
    interval = bootstrap_curve(
        curves_of([normal, normal, mixed]), np.random.default_rng(0), resamples=300
    )['auroc']
    # The one image with an anomaly is missing from (2/3)^3 = 30 % of the resamples.
    assert 0.6 < interval.resamples / 300 < 0.8
    assert interval.low == interval.high == 1


def test_confusion_matrices_and_components_have_intervals():
    rng = np.random.default_rng(7)
    matrices, components = [], []
    for noise in np.linspace(0.1, 0.6, 10):
        labels = rng.integers(0, 3, (20, 20)).astype(np.uint8)
        wrong = rng.random(labels.shape) < noise
        matrix = ConfusionMatrix(3)
        matrix.update(labels, np.where(wrong, 0, labels))
        matrices.append(matrix.counts.ravel())
        scores = ComponentScores(MinimumSize(1, 1))
        scores.update((labels == 1) ^ wrong, (labels == 1).astype(np.uint8))
        components.append(scores.sums)

    def miou(sums):
        pooled = ConfusionMatrix(3)
        pooled.counts = sums.reshape(4, 4)
        return {'miou': pooled.miou()}

    def component_report(sums):
        pooled = ComponentScores()
        pooled.sums = sums
        return pooled.report()

    for rows, statistic in ((matrices, miou), (components, component_report)):
        for interval in bootstrap(
            np.stack(rows), statistic, np.random.default_rng(0), 200
        ).values():
            assert interval.low < interval.value < interval.high


@pytest.mark.parametrize(
    ('rows', 'options', 'reason'),
    [
        (1, {}, 'two images'),
        (3, {'level': 95}, 'level between 0 and 1'),
        (3, {'resamples': 0}, 'one resample'),
    ],
)
def test_what_cannot_be_drawn_is_refused(rows, options, reason):
    with pytest.raises(ValueError, match=reason):
        bootstrap(np.ones((rows, 2)), lambda s: {'a': s[0]}, np.random.default_rng(0), **options)


def test_images_without_an_anomaly_have_no_curve():
    normal = (np.arange(5.0), np.zeros(5, dtype=bool))
    with pytest.raises(ValueError, match='no anomalous pixel'):
        bootstrap_curve(curves_of([normal, normal]), np.random.default_rng(0))
    with pytest.raises(ValueError, match='at least two'):
        bootstrap_curve(curves_of([normal]), np.random.default_rng(0))
