from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    jaccard_score,
    roc_auc_score,
    roc_curve,
)

from offline_training.evaluation.pixel_curve import PixelCurve, ordered_keys
from offline_training.evaluation.segmentation import ConfusionMatrix


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
    np.testing.assert_allclose(
        matrix.iou('drop_row_and_column'), expected(valid & (guess != 255))
    )
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
    with pytest.raises(ValueError, match=r'label 7 is outside 0\.\.2'):
        ConfusionMatrix(3).update(np.full((2, 2), 7), np.zeros((2, 2), dtype=int))
