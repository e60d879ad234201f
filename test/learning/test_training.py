"""The one training loop: what it draws, keeps, stops at and refuses."""

from __future__ import annotations

import copy
import io
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from offline_training.learning import training
from offline_training.learning.batches import DrawnBatches, Steps, TensorBatches
from offline_training.learning.schedule import CONSTANT, WARM_COSINE, Schedule
from offline_training.learning.session import Session
from offline_training.learning.task import Task
from offline_training.learning.training import learn

CPU = torch.device('cpu')
COUNT = 20


def session(checkpoint: Path | None = None, workers: int = 0) -> Session:
    return Session(checkpoint, workers, Console(file=io.StringIO()))


def draw(index: int, rng: np.random.Generator, progress: float):
    return np.float32([index]), rng.random(3, np.float32)


def drawn(workers: int = 0, batch_size=4, **options) -> DrawnBatches:
    return DrawnBatches(COUNT, draw, batch_size, 7, CPU, session(workers=workers), **options)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
    )


def task(learner: nn.Module, batches=None, **options) -> Task:
    def loss(index: Tensor, x: Tensor) -> Tensor:
        return (learner(x) - x.sum(1, keepdim=True)).square().mean()

    settings = {
        'loss': loss,
        'epochs': 4,
        'remedy': 'lower test.learning_rate',
        'seed': 5,
        'schedule': WARM_COSINE,
        'ema_decay': 0.9,
        'clip': 1.0,
        'optimizer': torch.optim.AdamW(learner.parameters(), lr=0.02),
        **options,
    }
    return Task(name='test', network=learner, batches=batches or drawn(), **settings)


def same(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def clock(monkeypatch) -> list[float]:
    """Let every look at the clock take a second."""
    now = [0.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(training.time, 'monotonic', tick)
    return now


# Schedules


@pytest.mark.parametrize(
    ('schedule', 'points'),
    [
        (CONSTANT, {0: 1, 0.5: 1, 1: 1}),
        (Schedule('cosine'), {0: 1, 0.5: 0.5, 1: 0}),
        (Schedule('cosine', floor=0.01), {0: 1, 0.5: 0.505, 1: 0.01}),
        (Schedule('cosine', holds=3), {0: 1, 0.33: 1, 1 / 3 - 1e-9: 0.75, 0.99: 0.25}),
        (WARM_COSINE, {0: 0.01, 0.015: 0.505, 0.03: 1, 1: 0}),
        (Schedule('poly', 0.1), {0: 0.01, 0.1: 1, 0.55: 0.5**0.9, 1: 1e-3**0.9}),
        (
            Schedule('cosine', 0.1, 'cosine', 0.04, 1e-3),
            {0: 0.04, 0.05: 0.52, 0.1: 1, 0.55: 0.5005, 1: 1e-3},
        ),
    ],
)
def test_schedules_pass_through_their_points(schedule, points):
    for place, factor in points.items():
        assert schedule(place) == pytest.approx(factor, abs=1e-9)


# Batches


def test_samples_do_not_depend_on_the_number_of_workers():
    runs = [
        [part for epoch in range(2) for batch in batches.epoch(epoch, 0.0) for part in batch]
        for batches in (drawn(0), drawn(1), drawn(3))
    ]
    assert len(runs[0]) == 2 * 2 * COUNT // 4
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_an_epoch_shows_each_sample_once_and_epochs_differ():
    batches = drawn()
    epochs = [torch.cat([index for index, _ in batches.epoch(n, 0.0)])[:, 0] for n in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(COUNT)) for epoch in epochs)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_part_of_an_epoch_is_its_rest(workers):
    whole, rest = list(drawn().epoch(1, 0.0)), list(drawn(workers).epoch(1, 0.0, 2))
    assert len(rest) == len(whole) - 2
    assert all(torch.equal(a[1], b[1]) for a, b in zip(whole[2:], rest, strict=True))


@pytest.mark.parametrize('workers', [0, 2])
def test_an_epoch_that_was_left_does_not_disturb_the_next(workers):
    batches = drawn(workers)
    next(batches.epoch(0, 0.0))
    left, fresh = list(batches.epoch(1, 0.0)), list(drawn().epoch(1, 0.0))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(left, fresh, strict=True))


def test_the_batch_size_may_follow_the_progress():
    batches = drawn(batch_size=lambda progress: 4 if progress < 0.5 else 10)
    assert [batches.count(0, progress) for progress in (0.0, 0.5)] == [5, 2]
    assert [len(index) for index, _ in batches.epoch(0, 0.5)] == [10, 10]


def test_epochs_of_so_many_steps_go_through_all_samples():
    batches = drawn(every=3, most=11)
    assert [batches.count(epoch, 0.0) for epoch in range(4)] == [3, 3, 3, 2]
    shown = torch.cat([index for n in range(4) for index, _ in batches.epoch(n, 0.0)])[:, 0]
    assert sorted(shown[:COUNT].tolist()) == list(range(COUNT))
    assert sorted(shown[COUNT : 2 * COUNT].tolist()) == list(range(COUNT))


def test_fewer_samples_than_a_batch_are_one_batch():
    batches = DrawnBatches(3, draw, 8, 0, CPU, session())
    assert [len(index) for index, _ in batches.epoch(0, 0.0)] == [3]


@pytest.mark.parametrize('workers', [0, 1])
def test_a_mistake_in_the_data_keeps_its_sentence(workers):
    def broken(index, rng, progress):
        raise ValueError('this image is broken')

    batches = DrawnBatches(3, broken, 2, 0, CPU, session(workers=workers))
    with pytest.raises(ValueError, match=r'^this image is broken$'):
        list(batches.epoch(0, 0.0))


def test_tensors_are_cut_into_batches_of_a_new_order():
    x = torch.arange(10)
    batches = TensorBatches([x, x * 2], 4, 1)
    epochs = [list(batches.epoch(n, 0.0)) for n in range(2)]
    assert [len(one) for one, _ in epochs[0]] == [4, 4, 2]
    assert batches.count(0, 0.0) == 3
    assert all(torch.equal(2 * a, b) for epoch in epochs for a, b in epoch)
    orders = [torch.cat([a for a, _ in epoch]) for epoch in epochs]
    assert sorted(orders[0].tolist()) == list(range(10))
    assert not torch.equal(*orders)


# The loop


def test_it_learns_and_leaves_random_numbers_alone():
    learner = network()
    before = torch.get_rng_state()
    learned = learn(task(learner, epochs=30, ema_decay=0.0), session())
    assert torch.equal(before, torch.get_rng_state())
    assert learned.history[-1]['loss'] < 0.5 * learned.history[0]['loss']
    assert (learned.epochs, len(learned.history)) == (30, 30)
    assert not learner.training


@pytest.mark.parametrize(('cut', 'workers'), [(2, 0), (5, 0), (7, 2), (13, 0), (20, 0)])
def test_an_interruption_in_the_midst_of_an_epoch_changes_nothing(tmp_path, cut, workers):
    def validated(net):
        return {'score': float(net(torch.ones(2, 3)).sum())}

    class Cut:
        """Ctrl-C comes in a step, which is still done."""

        def __init__(self, inner):
            self.inner, self.count = inner, inner.count

        def epoch(self, epoch, progress, first=0):
            for number, batch in enumerate(self.inner.epoch(epoch, progress, first), first):
                if epoch * 5 + number + 1 == cut:
                    os.kill(os.getpid(), signal.SIGINT)
                yield batch

    def plain(history):
        return [{k: v for k, v in row.items() if k != 'minutes'} for row in history]

    whole, broken, resumed, path = network(), network(), network(), tmp_path / 'test.pt'
    expected = learn(task(whole, validate=validated), session())
    with pytest.raises(KeyboardInterrupt):
        learn(task(broken, Cut(drawn(workers)), validate=validated), session(path))
    assert torch.load(path, weights_only=True)['position']['step'] == cut
    learned = learn(task(resumed, drawn(workers), validate=validated), session(path))
    assert same(whole, resumed)
    assert plain(learned.history) == plain(expected.history)


def test_a_finished_training_is_read_and_not_repeated(tmp_path):
    first, second = network(), network()
    learn(task(first), session(tmp_path / 'test.pt'))
    never = task(second, loss=lambda *_: pytest.fail('trained again'))
    learn(never, session(tmp_path / 'test.pt'))
    assert same(first, second)


def test_it_is_kept_by_time_inside_an_epoch(tmp_path, monkeypatch):
    now, saved = clock(monkeypatch), []
    monkeypatch.setattr(
        training, 'write_checkpoint', lambda _, state: saved.append((now[0], state['position']))
    )
    batches = DrawnBatches(400, draw, 2, 7, CPU, session())
    learn(task(network(), batches, epochs=1), session(tmp_path / 'test.pt'))
    times = [when for when, _ in saved]
    assert times[0] <= 20
    assert len(times) >= 4
    assert max(np.diff(times)) <= 62
    assert saved[0][1]['epoch'] == 0
    assert 0 < saved[0][1]['batch'] < 200


def test_divergence_names_the_setting_and_is_not_kept(tmp_path):
    learner = network()
    broken = task(learner, loss=lambda _, x: learner(x).sum() * math.nan)
    with pytest.raises(FloatingPointError, match=r'test became nan by step 5; lower test'):
        learn(broken, session(tmp_path / 'test.pt'))
    assert not (tmp_path / 'test.pt').exists()


def test_the_best_weights_are_kept_and_patience_ends_it():
    learner, scores, seen = network(), iter([3.0, 1.0, math.nan, 2.0, 9.0]), []

    def validate(net):
        seen.append(copy.deepcopy(net))
        return {'score': next(scores)}

    chosen = task(learner, epochs=9, ema_decay=0.0, validate=validate, patience=3)
    learned = learn(chosen, session())
    assert (learned.best, learned.epochs) == (3.0, 4)
    assert same(learner, seen[0])


def test_the_untrained_weights_may_be_the_best():
    learner, scores = network(), iter([5.0, 1.0, 1.0])
    before = copy.deepcopy(learner)
    chosen = task(learner, epochs=2, ema_decay=0.0, validate=lambda _: {'score': next(scores)},
                  validate_untrained=True)  # fmt: skip
    learn(chosen, session())
    assert same(learner, before)


def after_each_step(chosen: Task, note) -> None:
    inner = chosen.optimizer.step

    def step(*args, **kwargs):
        result = inner(*args, **kwargs)
        note()
        return result

    chosen.optimizer.step = step


def test_the_average_follows_the_weights():
    learner, trace = network(), []
    chosen = task(learner, epochs=1, ema_decay=0.5)
    after_each_step(chosen, lambda: trace.append(learner[0].weight.detach().clone()))
    learn(chosen, session())
    mean = trace[0]
    for number, weight in enumerate(trace[1:], 1):
        decay = min(0.5, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * weight
    torch.testing.assert_close(learner[0].weight.detach(), mean)


def test_a_time_limit_shortens_the_schedule(monkeypatch):
    clock(monkeypatch)
    rates: list[float] = []
    chosen = task(network(), epochs=1000, time_limit=50.0, schedule=Schedule('cosine'))
    after_each_step(chosen, lambda: rates.append(chosen.optimizer.param_groups[0]['lr']))
    learned = learn(chosen, session())
    assert learned.epochs < 20
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] < 0.001


def test_steps_without_samples():
    learner, calls = network(), []

    def loss():
        calls.append(1)
        return learner(torch.rand(4, 3)).square().mean()

    learn(task(learner, Steps(50, 20), epochs=3, loss=loss), session())
    assert len(calls) == 50


def test_figures_are_logged_for_tensorboard(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged = Session(console=Console(file=io.StringIO()), log_dir=tmp_path)
    learn(task(network(), epochs=20, validate=lambda _: {'score': 1.5}), logged)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {'test/loss', 'test/learning_rate', 'test/score'} <= set(events.Tags()['scalars'])
    assert events.Scalars('test/score')[0].value == 1.5
