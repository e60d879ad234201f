"""Training in several processes under torchrun: the same samples, the same weights, one end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'test' / 'support' / 'ranks.py'
SMALL = [
    '-m', 'offline_training.train',
    '--input.width', '64', '--input.height', '64',
    '--data.train_samples', '48', '--data.val_samples', '12',
    '--backbone.architecture', 'espnet_q3', '--backbone.epochs', '40',
    '--backbone.time_limit_minutes', 'null',
    '--backbone.validate_every', '10', '--backbone.ema_decay', '0.9',
    '--backbone.learning_rate', '5e-3',
    '--backbone.phases', '[{"crop_width": 64, "crop_height": 64, "batch_size": 8}]',
    '--device', 'cpu', '--stages', 'backbone',
]  # fmt: skip


def start(processes: int, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable]
    if processes > 1:
        command += ['-m', 'torch.distributed.run', '--nproc-per-node', str(processes)]
    return subprocess.Popen(
        [*command, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
    )


def run(processes: int, *words: object) -> None:
    process = start(processes, *words)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors


def miou(folder: Path) -> float:
    return json.loads((folder / 'backbone.json').read_text())['val']['miou']


def test_ranks_see_disjoint_samples_and_hold_equal_weights(tmp_path):
    for processes in (1, 2):
        run(processes, SCRIPT, tmp_path)
    alone, first, second = (
        json.loads((tmp_path / f'{name}.json').read_text()) for name in ('1_0', '2_0', '2_1')
    )
    assert first['weights'] == second['weights']
    assert len(set(first['weights'])) == 4  # before each of three epochs, and the best at the end
    for epoch in range(3):
        batches = zip(
            alone['seen'][epoch], first['seen'][epoch], second['seen'][epoch], strict=True
        )
        for together, one, other in batches:
            assert len(one) == len(other) == 4
            assert sorted(one + other) == sorted(together)


@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_does(tmp_path):
    for processes in (1, 2):
        run(processes, *SMALL, '--output', tmp_path / str(processes))
    alone, together = miou(tmp_path / '1'), miou(tmp_path / '2')
    assert alone > 25
    # Sums in another order let two trainings drift apart; on some processors by 3 points.
    assert together == pytest.approx(alone, abs=5)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the ranks, in order."""
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    found = {}
    for child in map(int, children):
        entries = Path(f'/proc/{child}/environ').read_bytes().split(b'\0')
        found.update({int(e[5:]): child for e in entries if e.startswith(b'RANK=')})
    return [found[rank] for rank in sorted(found)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize('killed', [0, 1])
def test_a_killed_rank_ends_all_with_one_sentence_and_resume_goes_on(tmp_path, killed):
    # By time, as it must still be learning when the first checkpoint is there.
    limit = ['--backbone.epochs', '9000', '--backbone.time_limit_minutes', '0.6']
    words = [*SMALL, '--output', tmp_path, *limit]
    process = start(2, *words)
    checkpoint, latest = tmp_path / 'checkpoints' / 'backbone.pt', time.monotonic() + 200
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < latest
        time.sleep(0.2)
    pids = ranks_of(process)
    assert len(pids) == 2
    os.kill(pids[killed], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    ours = [line for line in errors.splitlines() if '--resume' in line]
    assert len(ours) == 1, errors
    assert not any(Path(f'/proc/{pid}').exists() for pid in pids)
    resumed = start(2, *words, '--resume')
    _, errors = resumed.communicate(timeout=280)
    assert resumed.returncode == 0, errors
    assert 'backbone: continuing after epoch' in errors
    assert miou(tmp_path) > 10
