"""Every exportable detector on the robot's engines, behind the exported watched network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.colour_network import HEIGHT, WIDTH, some_images
from support.fitted_detectors import WATCHED, build, fitted

from offline_training.detectors import DETECTORS
from offline_training.detectors.one_pass import at_size
from offline_training.watched.export import export_watched
from ros2_ood_monitor.inference.engines.selection import open_chain

EXPORTABLE = [name for name in DETECTORS if build(name).exportable]
GATE_IMAGES = torch.cat([some_images(False, 2), some_images(True, 2)])
MAP_SIZE = HEIGHT // 4, WIDTH // 4


@pytest.fixture(scope='module')
def chain(tmp_path_factory):
    """Give the networks of a detector with the watched one in front, exported once."""
    found = {}

    def export(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            exported = fitted(name).export(WATCHED, GATE_IMAGES, folder)
            others = ['energy', 'density', 'observer'] if name == 'monitor' else []
            watched = export_watched('backbone', WATCHED, exported, GATE_IMAGES, folder, others)
            found[name] = [watched, *exported]
        return found[name]

    return export


def expected(name, images):
    detector = fitted(name)
    if name == 'monitor':
        maps = detector.maps(detector.look(WATCHED, images))
        yield 'density', maps['density'][:, None]
        yield 'observer', torch.stack([maps['unknown'], maps['error']], dim=1)
        yield 'energy', maps['energy'][:, None]
    elif detector.has_map:
        yield name, at_size(detector.score_map(WATCHED, images), *MAP_SIZE)[:, None]
    if detector.has_frame_score:
        yield f'{name}_frame', detector.score_frame(WATCHED, images)


def check(name, chain, backend):
    networks = [each.network for each in chain(name)]
    wanted = dict(expected(name, some_images(unknown=True, count=1)))
    engine = open_chain(networks, ['labels', *wanted], backend, threads=1)
    for unknown in (False, True):
        images = some_images(unknown, count=1)
        actual = engine.run({'image': images.numpy()})
        labels = WATCHED.look(images)['labels'].numpy()
        assert np.mean(np.asarray(actual['labels']) != labels) < 1e-3
        for key, value in expected(name, images):
            span = max(float(np.ptp(value.numpy())), 0.1 * float(value.abs().max()))
            np.testing.assert_allclose(
                np.asarray(actual[key]), value.numpy(), atol=1e-3 * span, rtol=0
            )
    engine.close()


def test_all_but_the_sampling_ones_are_exportable():
    sampling = {'mc_dropout', 'mc_dropblock', 'mc_augmentation', 'odin', 'weight_noise'}
    assert set(DETECTORS) - set(EXPORTABLE) == sampling


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('name', EXPORTABLE)
def test_engines_give_what_torch_gives(name, backend, chain):
    pytest.importorskip(backend)
    check(name, chain, backend)


# One with a map, a frame score and several tensors for the fast tests.
@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_an_engine_gives_what_torch_gives(backend, chain):
    check('mahalanobis', chain, backend)


def test_the_watched_network_gives_what_is_read_and_no_more(chain):
    watched, detector = chain('mahalanobis')
    assert [each.name for each in watched.network.inputs] == ['image']
    assert [each.name for each in watched.network.outputs] == ['labels', 'early', 'late']
    assert {each.name for each in detector.network.inputs} == {'early', 'late', 'labels'}
    entry = detector.entry()
    assert entry['file'] == 'mahalanobis.onnx'
    assert [each['name'] for each in entry['outputs']] == ['mahalanobis', 'mahalanobis_frame']
    assert entry['outputs'][0]['shape'] == (1, 1, *MAP_SIZE)
    assert detector.gates['parity_error'] < 1e-3


def test_what_was_not_fitted_is_not_exported(tmp_path: Path):
    with pytest.raises(RuntimeError, match='mahalanobis has not been fitted'):
        build('mahalanobis').export(WATCHED, GATE_IMAGES, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', EXPORTABLE)
def test_tensorrt_builds_it(name, chain, tmp_path):
    pytest.importorskip('tensorrt_rtx', reason='tensorrt-rtx is not installed')
    from ros2_ood_monitor.inference.engines.tensorrt import build_engine

    for each in chain(name):
        build_engine(each.network.path, tmp_path / 'plan')
        assert (tmp_path / 'plan').stat().st_size > 1000
