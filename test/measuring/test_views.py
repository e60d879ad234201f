from __future__ import annotations

import numpy as np
import pytest
from support.tiny_bundle import anomaly_image, normal_image

from offline_training.measuring import views
from offline_training.measuring.channel_causes import OTHERS, channel_causes
from offline_training.measuring.image_folder import spread
from offline_training.measuring.simulated_camera import Raised
from offline_training.perturbations import PERTURBATIONS, SEEN_IN_TRAINING
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.runner import Runner


def test_every_perturbation_is_a_kind_and_eight_are_unseen():
    found = views.kinds(0.6, {'moon': [anomaly_image()]})
    groups = {kind.name: kind.group for kind in found}
    assert set(groups) == {*PERTURBATIONS, 'clean', 'grey', 'moon'}
    assert {name for name, group in groups.items() if group == 'seen'} == SEEN_IN_TRAINING
    assert sum(group == 'unseen' for group in groups.values()) == 8
    assert [kind.name for kind in found if not kind.hazardous] == ['clean']


def test_a_kind_changes_the_image_by_its_seed_only():
    by_name = {kind.name: kind for kind in views.kinds(0.6, {})}
    image = anomaly_image()
    rain = by_name['rain']
    assert (rain.change(image, 1) == rain.change(image, 1)).all()
    assert (rain.change(image, 1) != rain.change(image, 2)).any()
    assert (by_name['clean'].change(image, 1) == image).all()
    grey = by_name['grey'].change(image, 1)
    assert (grey == grey[..., :1]).all()
    # Magenta is 0.299 + 0.114 of white.
    assert grey[20, 30, 0] == round(255 * 0.413)


def test_foreign_views_leave_nominal_and_clean_ones_do_not(tiny_bundle):
    moon = [anomaly_image(seed) for seed in range(2)]
    normal = [normal_image(seed) for seed in (3, 4, 5)]
    kinds = {kind.name: kind for kind in views.kinds(0.6, {'moon': moon})}
    with Runner(ModelBundle.load(tiny_bundle), 'onnxruntime') as runner:
        rows = {
            name: views.summary(
                kinds[name], list(views.held(runner, kinds[name], normal, 2.0, seed=4))
            )
            for name in ('moon', 'clean')
        }
    assert rows['moon']['views'] == 2
    assert rows['moon']['left_nominal'] == rows['moon']['alert_or_fault'] == 100
    assert rows['moon']['median_delay_s'] == pytest.approx(0.2)
    assert rows['moon']['causes']['unknown_view'] == 100
    assert rows['clean']['views'] == 3
    assert rows['clean']['left_nominal'] == 0
    assert rows['clean']['causes'] == {}
    assert rows['clean']['median_delay_s'] is None


def test_a_group_counts_its_kinds_that_are_mostly_seen():
    rows = [{'group': 'unseen', 'left_nominal': share} for share in (100.0, 90.0, 20.0)] + [
        {'group': 'clean', 'left_nominal': 0.0}
    ]
    assert views.group_means(rows) == {
        'unseen': {'kinds': 3, 'left_nominal': 70.0, 'kinds_at_90': 2},
        'clean': {'kinds': 1, 'left_nominal': 0.0, 'kinds_at_90': 0},
    }


def test_causes_belong_to_channels_and_the_rest_to_the_input_checks(tiny_bundle):
    channels = ModelBundle.load(tiny_bundle).channels
    parts = channel_causes(channels, ['grey', 'unknown_region'])
    assert parts == {
        'object': frozenset({'unknown_view', 'unknown_region'}),
        OTHERS: frozenset({'grey'}),
    }
    raised = Raised(causes={('grey', State.FAULT): 0.0, ('unknown_region', State.CAUTION): 0.2})
    assert raised.worst(parts['object']) == State.CAUTION
    assert raised.worst(parts[OTHERS]) == State.FAULT


@pytest.mark.parametrize('count', [1, 2, 5, 7, 9])
def test_a_spread_is_even_and_without_repetition(count):
    chosen = spread(list(range(7)), count)
    assert len(chosen) == len(set(chosen)) == min(7, count)
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 2 else True
    assert chosen == sorted(chosen)
