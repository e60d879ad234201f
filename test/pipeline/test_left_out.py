"""What is calibrated on was never fitted on: whole sequences are left out of fits of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('torch')
from offline_training.detectors.base import Detector
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import Context, choose_device
from offline_training.pipeline.left_out import LEAST_FRAMES, left_out_groups, long_sequences
from offline_training.pipeline.normal_sequences import (
    IMAGE,
    TOO_NORMAL,
    Measured,
    image_sequences,
    normal_material,
    normal_sequences,
    unseen_sequences,
)
from offline_training.train import main
from ros2_ood_monitor.calibration.sequences import SECOND_LEVEL
from test.support.miniature import write

SIZE = (64, 96)
LENGTHS = {'A': 14, 'B': 11, 'C': 3}
TINY = [
    '--data.dataset', 'camvid', '--input.width', '96', '--input.height', '64',
    '--backbone.architecture', 'espnet_q3', '--backbone.epochs', '1',
    '--backbone.validate_every', '1', '--flow.epochs', '1', '--observer.epochs', '2',
    '--observer.batch_size', '4', '--calibration.block_seconds', '0.5',
]  # fmt: skip
names = st.lists(st.sampled_from(['', 'a', 'b', 'c', 'd']), max_size=80)


@given(names=names, fits=st.integers(0, 6))
def test_every_long_sequence_is_left_out_of_one_fit(names: list[str], fits: int) -> None:
    groups = left_out_groups(names, fits)
    long = {name for name in names if name and names.count(name) >= LEAST_FRAMES}
    left_out = [name for group in groups for name in group]
    assert len(groups) <= fits
    assert all(groups)
    if fits and len(long) > 1:
        assert sorted(left_out) == sorted(long)
    else:
        assert left_out == []
    # Something stays to fit on, unless one fit was asked to do without everything.
    assert fits == 1 or all(set(group) != long for group in groups)


def test_groups_are_about_as_long_as_one_another() -> None:
    names = ['a'] * 204 + ['b'] * 101 + ['c'] * 62
    assert left_out_groups(names, 2) == [['a'], ['b', 'c']]
    assert long_sequences(['a'] * 204 + [''] * 101) == {}


@pytest.fixture(scope='module')
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root, output = tmp_path_factory.mktemp('data'), tmp_path_factory.mktemp('run')
    rng = np.random.default_rng(1)
    for split, lengths in (('train', LENGTHS), ('val', {'A': 4})):
        for name, count in lengths.items():
            for number in range(count):
                file = f'{name}_{number:03}.png'
                noise = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
                write(root / split / file, noise)
                write(root / f'{split}annot' / file, np.uint8(noise[..., 0] // 23))
    words = [*TINY, '--data.data_dir', str(root)]
    assert main([*words, '--output', str(output), '--stages', _STAGES]) == 0
    return Context(load_config(None, words), output, choose_device('cpu'))


_STAGES = 'backbone,flow,observer,left_out,image,channels,calibrate'


@pytest.mark.slow
def test_sequences_are_measured_by_the_fit_without_them(context: Context) -> None:
    measured = Measured.of(context)
    normal = normal_sequences(context, measured)
    unseen = unseen_sequences(context, measured, normal)
    assert json.loads((context.output_dir / 'left_out.json').read_text()) == {
        'groups': [['A'], ['B']]
    }
    # The frames of val are of the drive A and would say the same again; C is too short.
    assert {name: len(each) for name, each in unseen.items()} == {'A': 14, 'B': 11}
    frames = context.train_data
    for number, name in enumerate(unseen):
        images = [frames[i][0] for i in range(len(frames)) if frames.sequence(i) == name]
        own_fit = measured.without(context, number)
        own = own_fit.sequence(images)
        np.testing.assert_allclose(unseen[name].values['object'], own.values['object'])
        seen = measured.sequence(images).values['object']
        assert np.abs(unseen[name].values['object'] - seen).max() > 1e-3
        both = [each.sequence(images).values[SECOND_LEVEL] for each in (measured, own_fit)]
        np.testing.assert_allclose(unseen[name].values[SECOND_LEVEL], np.max(both, axis=0))
    image = image_sequences(context, measured, unseen)
    stored = json.loads((context.output_dir / 'image.json').read_text())['left_out']
    for name, values in stored.items():
        np.testing.assert_allclose(image[name].values[f'{IMAGE}.quality'], np.array(values)[:, 1])
        # Too normal is what was learned from; there the left-out fit would expect too much.
        images = [frames[i][0] for i in range(len(frames)) if frames.sequence(i) == name]
        seen = measured.sequence(images).values['object']
        np.testing.assert_allclose(image[name].values[f'{IMAGE}.{TOO_NORMAL}'], -seen, rtol=1e-6)
    calibration = json.loads((context.output_dir / 'calibration.json').read_text())
    for channel in calibration.values():
        assert channel['certificate']['sequences'] == 2
        assert channel['certificate']['certified_per_hour'] is None
    assert len(calibration['object']['frame_score']['reference']) == 25
    assert normal_material(context) == (2, pytest.approx(25 / 15 / 3600))


def test_no_fit_sees_what_it_leaves_out(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from offline_training.pipeline.stages import left_out

    seen = []
    for kind in (DenseFlowDensity, LightObserver):

        def fit(detector: Detector, _: object, frames, session) -> None:
            seen.append((detector.name, {frames.sequence(i) for i in range(len(frames))}))
            assert session.checkpoint.name.startswith('left_out_')

        monkeypatch.setattr(kind, 'fit', fit)
        monkeypatch.setattr(kind, 'save', lambda *_: None)
    left_out.run(context)
    without = [{'B', 'C'}, {'B', 'C'}, {'A', 'C'}, {'A', 'C'}]
    assert [sequences for _, sequences in seen] == without
    assert len({name for name, _ in seen}) == 2
