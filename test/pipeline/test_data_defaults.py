"""Defaults belong to the data set, not to the demo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from offline_training.detectors.dense_flow.flow_training import FlowConfig, build_flow
from offline_training.detectors.observer.observer_training import ObserverConfig, build_observer
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.config_file import load_config
from offline_training.segmentation.backbones import BACKBONES, without_weights
from offline_training.watched.graphs import tap_shapes


def folder(root, width, height, images=20, odd=0):
    """Write a folder of images of one size; the first `odd` of them are 32x32."""
    for part in ('images', 'labels'):
        (root / part).mkdir(parents=True)
    for index in range(images):
        size = (32, 32) if index < odd else (height, width)
        cv2.imwrite(str(root / 'images' / f'{index:05}.png'), np.zeros((*size, 3), np.uint8))
        cv2.imwrite(str(root / 'labels' / f'{index:05}.png'), np.zeros(size, np.uint8))
    (root / 'classes.yaml').write_text(
        'classes: [{name: road, color: [0, 0, 0]}, {name: sky, color: [9, 9, 9]}]'
    )
    return ['--data.dataset', 'folder', '--data.data_dir', str(root)]


@pytest.mark.parametrize(
    ('images', 'architecture', 'network', 'crop'),
    [
        ((480, 360), 'espnet', (480, 360), (480, 360)),
        ((480, 360), 'segnet', (480, 352), (480, 352)),
        ((480, 360), 'deeplabv3plus_resnet50', (480, 352), (480, 352)),
        ((2048, 1024), 'espnet', (1024, 512), (512, 256)),
        ((1280, 720), 'enet', (1024, 576), (512, 288)),
        ((300, 50), 'segnet', (288, 64), (288, 64)),
        ((20, 20), 'espnet', (32, 32), (32, 32)),
    ],
)
def test_sizes_come_from_the_images_in_whole_strides(
    tmp_path, images, architecture, network, crop
):
    words = folder(tmp_path / 'data', *images)
    config = load_config(None, [*words, '--backbone.architecture', architecture])
    (phase,) = config.backbone.phases
    assert (config.input.width, config.input.height) == network
    assert (phase.crop_width, phase.crop_height) == crop


def test_own_images_do_not_train_the_demo(tmp_path):
    config = load_config(None, folder(tmp_path / 'my data', 96, 64, odd=3))
    demo = load_config(None)
    assert (config.input.width, config.input.height) == (96, 64)
    assert config.name == 'my_data'
    assert config.backbone.time_limit_minutes is None
    assert config.backbone.architecture == 'espnet' != demo.backbone.architecture
    assert config.flow.epochs != demo.flow.epochs


@pytest.mark.parametrize(
    ('images', 'batch', 'epochs'), [(20, 8, 400), (1430, 8, 112), (8000, 2, 30)]
)
def test_epochs_give_enough_steps(tmp_path, monkeypatch, images, batch, epochs):
    words = folder(tmp_path / 'data', 64, 64, images=3)
    monkeypatch.setattr(
        'offline_training.data.labelled_folder.LabelledFolder.__len__', lambda self: images
    )
    monkeypatch.setattr('offline_training.pipeline.config_file.LOOKED_AT', 0.5)
    words += ['--backbone.phases', f'[{{batch_size: {batch}}}]', '--input.width', '64']
    assert load_config(None, [*words, '--input.height', '64']).backbone.epochs == epochs


def test_what_is_given_stays_and_the_rest_follows_it(tmp_path):
    words = folder(tmp_path / 'data', 480, 360)
    phases = '[{share: 0.5, crop_width: 64}, {share: 0.5, crop_width: 96, crop_height: 96}]'
    config = load_config(
        None,
        [
            *words,
            '--input.width=256',
            '--name=mine',
            '--backbone.epochs=3',
            '--backbone.phases',
            phases,
        ],
    )
    assert (config.input.width, config.input.height) == (256, 360)
    crops = [(phase.crop_width, phase.crop_height) for phase in config.backbone.phases]
    assert crops == [(64, 360), (96, 96)]
    assert (config.name, config.backbone.epochs) == ('mine', 3)


def test_images_are_not_looked_for_where_all_is_given(tmp_path):
    words = ['--data.dataset', 'camvid', '--input.width', '64', '--input.height', '64']
    assert load_config(None, words).name == 'camvid'
    with pytest.raises(ConfigError, match='depend on its images; give --data-dir'):
        load_config(None, ['--data.dataset', 'camvid'])


@pytest.mark.parametrize('architecture', [name for name in BACKBONES if name != 'enet_2018'])
def test_every_network_can_be_watched_with_the_default_taps(architecture):
    """At the size that its images get, flow and observer can be built for it."""
    network = without_weights(architecture)
    flow = build_flow(network, FlowConfig(), 352, 480)
    build_observer(network, ObserverConfig(), 352, 480)
    assert len(flow.taps) == 1
    (tap,) = flow.taps
    channels, stride = tap_shapes(network, 352, 480)[tap]
    assert channels <= 512  # a covariance that can be worked with
    assert stride in (8, 16)
