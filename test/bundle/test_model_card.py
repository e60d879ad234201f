"""The card of a bundle names what runs, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ros2_ood_monitor.bundle.model_card import model_card


def channel(**weights: float) -> dict[str, Any]:
    tensors = {'unknown': 'observer', 'error': 'observer'}
    maps = [
        {'name': name, 'tensor': tensors.get(name, name), 'weight': weight}
        for name, weight in weights.items()
    ]
    return {
        'fusion': {'maps': maps, 'bias': 0.0},
        'alarms': [{'drift': 1.5, 'threshold': 9.0}],
        'certificate': {
            'budget_per_hour': 0.5,
            'certified_per_hour': 12.25,
            'frame_rate': 15.0,
            'sequences': 20,
            'hours': 0.4,
        },
    }


def card(cannot_see: tuple[dict[str, Any], ...] = (), **channels: dict[str, Any]) -> str:
    figures = {'ap': 0.5, 'fpr95': 0.25, 'auroc': 0.75}
    return model_card(
        {
            'name': 'tiny',
            'backbone': {'architecture': 'espnet'},
            'input': {'width': 96, 'height': 64},
            'classes': [{'name': 'road'}],
            'channels': channels,
            'metrics': {
                'val_segmentation': {'miou': 50.0, 'protocol': 'p'},
                'val_anomaly': {
                    'protocol': 'q',
                    'frames': 3,
                    'maps': dict.fromkeys(('fused', 'energy', 'density', 'unknown'), figures),
                },
            },
            'cannot_see': cannot_see,
            'provenance': {'created': 'today', 'package': '0'},
        }
    )


@pytest.mark.parametrize('density', [0.0, 0.25])
def test_a_map_without_weight_is_not_on_the_card(density):
    text = card(object=channel(energy=0.0, density=density, unknown=1.25))
    assert ('normalising flow' in text) == ('| density |' in text) == (density > 0)
    assert '- an observer head' in text
    assert '| unknown | 50.0 | 25.0 | 75.0 |' in text
    assert 'energy' not in text


def test_every_channel_says_what_it_certifies():
    text = card(object=channel(unknown=1.25), density=channel(density=1.0))
    assert '| object | unknown (1.25) | 9.00 (1.50) | 0.5 | 12.2 | 20 sequences, 0.4 h' in text
    assert '| density | density (1.00) | 9.00 (1.50) | 0.5 | 12.2 | 20 sequences' in text


def test_an_image_channel_without_a_certificate_says_so():
    image = channel()
    image['fusion'] = None
    image['certificate']['certified_per_hour'] = None
    image['statistics'] = [{'name': 'moments', 'tensor': 'image_statistics'}]
    text = card(object=channel(unknown=1.25), image=image)
    assert '| image | moments | 9.00 (1.50) | 0.5 | UNCERTIFIED | 20 sequences' in text
    assert '- an image channel' in text


def test_what_a_bundle_cannot_see_is_on_its_card():
    rows = (
        {
            'kind': 'perturbation', 'what': 'fog', 'severity_or_distance': 0.6,
            'seen_share': 1 / 3, 'delay_s': 1.25, 'false_alarms': None,
        },
        {
            'kind': 'normal', 'what': 'a drive of 10.0 s', 'severity_or_distance': None,
            'seen_share': None, 'delay_s': None, 'false_alarms': 2.0,
        },
    )  # fmt: skip
    text = card(rows, object=channel(unknown=1.0))
    assert '| perturbation | fog | 0.6 | 33.3 | 1.25 | - |' in text
    assert '| normal | a drive of 10.0 s | - | - | - | 2 |' in text
    assert 'cannot see' not in card(object=channel(unknown=1.0))
