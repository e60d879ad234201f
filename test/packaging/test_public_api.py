"""`import ros2_ood_monitor as ood`: three names, an example that runs, and nothing heavy."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest

import ros2_ood_monitor as ood

GOLDEN = Path(__file__).parents[1] / 'golden' / 'bundle_schema_2'


def example() -> str:
    """Return the code of the package's docstring."""
    _, _, rest = inspect.cleandoc(ood.__doc__ or '').partition('::\n')
    code, _, _ = rest.partition('\nImporting')
    return inspect.cleandoc(code)


def test_the_example_of_the_docstring_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(GOLDEN, tmp_path / 'runs' / 'demo' / 'bundle')
    shutil.copy(GOLDEN / 'selftest' / 'anomaly.png', tmp_path / 'image.png')
    monkeypatch.chdir(tmp_path)
    exec(compile(example(), 'example', 'exec'), {})
    score, region = capsys.readouterr().out.splitlines()
    assert score == 'score 1.30'  # above all 19 reference frames
    assert region.startswith('unknown at (')


def test_the_names_are_those_of_the_modules_and_no_others() -> None:
    from ros2_ood_monitor.inference.runner import Runner

    assert ood.Runner is Runner
    assert {'Frame', 'ModelBundle', 'Runner', '__version__'} <= set(dir(ood))
    with pytest.raises(AttributeError, match="'ros2_ood_monitor' has no attribute 'Detector'"):
        _ = ood.Detector
