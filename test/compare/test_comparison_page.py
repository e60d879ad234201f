"""The page about comparing names all detectors, and config/compare can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from offline_training.compare.config import load_compare_config
from offline_training.detectors import DETECTORS
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import SEGMENTATION_SETS
from offline_training.segmentation.backbones import BACKBONES

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / 'config' / 'compare').glob('*.yaml'))


@pytest.mark.parametrize('name', DETECTORS)
def test_every_detector_is_on_the_page(name):
    assert f'`{name}`' in (ROOT / 'docs' / 'comparison.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_comparison_can_be_read(path):
    config = load_compare_config(path)
    for entry in config.detectors.values():
        DETECTORS[entry.detector](**entry.settings)
    load_config(path.parent / config.experiment)


def test_every_detector_is_compared_on_camvid():
    config = load_compare_config(ROOT / 'config' / 'compare' / 'camvid.yaml')
    assert {entry.detector for entry in config.detectors.values()} == set(DETECTORS)


def test_the_front_page_names_all_data_sets_and_networks():
    page = (ROOT / 'README.md').read_text(encoding='utf-8')
    for name in [*SEGMENTATION_SETS, *BACKBONES]:
        assert f'`{name.removesuffix("_dropblock")}`' in page
