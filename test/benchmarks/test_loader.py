"""The benchmark of the loader: what it fills, prints and writes."""

from __future__ import annotations

import json

import pytest

from offline_training.benchmarks import loader


@pytest.mark.slow
def test_all_figures_are_measured_and_written(tmp_path, capsys):
    path = tmp_path / 'loader.json'
    words = ['--counts', '64', '96', '--batches', '1', '--repeats', '1', '--json', str(path)]
    assert loader.main(words) == 0
    figures = json.loads(path.read_text())
    assert figures['peak_mb'].keys() == {'64', '96'}
    assert all(peak > 100 for peak in figures['peak_mb'].values())
    growth = figures['peak_mb']['96'] / figures['peak_mb']['64'] - 1
    assert figures['peak_growth'] == pytest.approx(growth)
    assert abs(growth) < 0.1
    speeds = figures['loader_images_per_second']
    assert figures['two_workers_over_one'] == pytest.approx(speeds['2'] / speeds['1'])
    assert figures['step_images_per_second'] > 0
    assert 'two workers / one' in capsys.readouterr().out


def test_linked_images_are_a_labelled_folder(tmp_path):
    loader.fill(tmp_path, loader.DIFFERENT + 3)
    frames = loader.frames_of(tmp_path)
    assert len(frames) == loader.DIFFERENT + 3
    assert (frames[0][0] == frames[loader.DIFFERENT][0]).all()
    assert frames[0][0].shape == (loader.HEIGHT, loader.WIDTH, 3)
