"""Where the export builds TensorRT engines: `export.tensorrt` and whether a GPU is ready."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import Context, choose_device
from offline_training.pipeline.stages import export
from ros2_ood_monitor.inference.engines import build, cuda, selection


@pytest.mark.parametrize(
    ('wanted', 'gpu', 'built'),
    [
        ('auto', False, False),
        ('auto', True, True),
        ('always', False, True),
        ('never', True, False),
    ],
)
def test_engines_are_built_where_a_gpu_is_ready_or_as_asked(
    wanted, gpu, built, tmp_path, monkeypatch
):
    monkeypatch.setattr(selection, 'find_spec', lambda name: True)
    monkeypatch.setattr(cuda, 'gpu_ready', lambda: gpu)
    calls = []
    monkeypatch.setattr(
        build, 'build_engines', lambda *words: calls.append(words[:2]) or [tmp_path / 'a.plan']
    )
    config = load_config(None, ['--export.tensorrt', wanted])
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    context = Context(config, tmp_path, choose_device('cpu'), console=console)
    export._tensorrt(context, SimpleNamespace(directory=tmp_path / 'bundle'))
    assert calls == ([(tmp_path / 'bundle', 'tensorrt')] if built else [])
    assert ('built a.plan' in shown.getvalue()) == built
    # Who expected engines and gets none is told why, and what to type on the robot.
    assert ('build-engines' in shown.getvalue()) == (wanted == 'auto' and not gpu)
