from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_bundle import normal_image

from offline_training.measuring.blind_spots import DISTANCES, SIZES, blind_spots, views_in
from offline_training.measuring.perspective import paste, trimmed
from offline_training.measuring.self_made import box_of_size, self_made
from offline_training.perturbations import PERTURBATIONS
from offline_training.synthesis.negatives import Negatives, held_out_negatives
from ros2_ood_monitor.bundle.manifest import CannotSee
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.runner import Runner

NEGATIVES = held_out_negatives(None)


def test_the_table_says_what_is_seen_and_what_not(tiny_bundle):
    normal = [normal_image(seed) for seed in (3, 4, 5)]
    drive = [normal_image(seed) for seed in range(20, 50)]
    calls = []
    with Runner(ModelBundle.load(tiny_bundle), 'onnxruntime') as runner:
        rows = blind_spots(runner, normal, drive, NEGATIVES, lambda: calls.append(1))
    assert len(calls) == views_in(3)
    assert all(isinstance(CannotSee(**row), CannotSee) for row in rows)
    by_what = {(row['kind'], row['what'], row['severity_or_distance']): row for row in rows}
    assert len(by_what) == len(rows) == 15 + 1 + 1 + len(SIZES) + len(DISTANCES) + 1
    assert {row['what'] for row in rows if row['kind'] == 'perturbation'} == set(PERTURBATIONS)
    # Noise upside down is the same noise: this bundle cannot see that its camera is.
    flipped = by_what['perturbation', 'vertical_flip', 0.6]
    assert (flipped['seen_share'], flipped['delay_s']) == (0, None)
    grey = by_what['camera', 'grey', None]
    assert (grey['seen_share'], grey['delay_s']) == (1, 0)
    for row in rows:
        assert (row['seen_share'] is None) == (row['kind'] == 'normal')
        assert (row['false_alarms'] is None) == (row['kind'] != 'normal')
    assert by_what['normal', '3 views held for 2 s', None]['false_alarms'] == 0
    assert by_what['normal', 'a drive of 3.0 s', None]['false_alarms'] == 0


def test_the_same_bundle_gets_the_same_table(tiny_bundle):
    with Runner(ModelBundle.load(tiny_bundle), 'onnxruntime') as runner:
        first, second = (blind_spots(runner, [normal_image(3)], [], NEGATIVES) for _ in range(2))
    assert first == second


@given(st.integers(0, 50), st.sampled_from(SIZES))
def test_an_object_has_the_size_that_was_asked_for(seed, share):
    image = np.full((240, 320, 3), 90, np.uint8)
    cutout = next(self_made(NEGATIVES, seed))
    box = box_of_size(np.random.default_rng(seed), image, cutout, share)
    _, mask = paste(image, cutout, box)
    # Part of a long one may be outside; thin parts may not stay half covered.
    if box.left >= 0 and box.left + box.width <= 320 and box.top >= 0:
        assert np.mean(mask) == pytest.approx(share, rel=0.35)
    assert np.mean(mask) <= 1.2 * share


def test_every_second_object_is_a_real_one_where_there_are_some():
    real = np.full((10, 20, 4), (1, 2, 3, 255), np.uint8)
    made = self_made(Negatives(NEGATIVES.textures, NEGATIVES.outlines, [real]), 0)
    found = [next(made) for _ in range(4)]
    assert [each.shape == real.shape and (each == real).all() for each in found][1::2] == [
        True,
        True,
    ]
    assert found[0].shape != real.shape


def test_trimming_leaves_what_is_not_transparent():
    cutout = np.zeros((30, 40, 4), np.uint8)
    cutout[5:20, 10:18] = 255
    assert trimmed(cutout).shape == (15, 8, 4)
    nothing = np.zeros((3, 3, 4), np.uint8)
    assert trimmed(nothing).shape == (3, 3, 4)
