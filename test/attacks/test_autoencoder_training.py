"""Training the attacker: the PSNR is kept, the victim untouched, both sides can learn in turn."""

from __future__ import annotations

import copy
import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from offline_training.attacks.alternate_training import (
    VictimSettings,
    harden,
    train_alternately,
    trainable_copy,
)
from offline_training.attacks.attack_damage import answers, attack_image, damage_report
from offline_training.attacks.autoencoder_training import (
    AttackSettings,
    AutoencoderTraining,
    constrained_loss,
    victim_loss,
    victim_weights,
)
from offline_training.attacks.malicious_autoencoder import MaliciousAutoencoder
from offline_training.data.frames import Frames
from offline_training.learning.session import Session
from offline_training.learning.store import StorageError
from offline_training.segmentation.backbones.base import Backbone
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize

HEIGHT, WIDTH, CLASSES = 16, 24, 3
COLOURS = np.array([[90, 110, 130], [130, 110, 90], [110, 130, 110]])
ATTACK = AttackSettings(psnr=20.0, steps=60, batch_size=4, validate_every=15)


class Small(Backbone):
    """Knows its classes by colour; the last output is void."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout2d(0.1)
        )
        self.classify = nn.Conv2d(12, CLASSES + 1, 1)

    def features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        body = self.body(images)
        return self.classify(body), {'body': body}


def scenes(count: int, seed: int) -> Frames:
    """Three bands of colour with grain; a strip of void and one of an unknown object (label 9)."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(count):
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        truth[rng.integers(4, 8) :] = 1
        truth[:, rng.integers(4, 20) :] = 2
        image = COLOURS[truth] + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        truth[0], truth[-1] = 255, 9
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        labels.append(truth)
    return Frames(images, labels)


@pytest.fixture(scope='module')
def watched() -> Watched:
    torch.manual_seed(0)
    network = Small()
    normalize = Normalize(InputConfig(32, 32, 'rgb', (110, 110, 110), (20, 20, 20)))
    frames = scenes(24, 0)
    ((images, labels),) = frames.batches(24, torch.device('cpu'))
    labels = torch.where(labels < CLASSES, labels, 255)
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    for _ in range(60):
        logits, _ = network.features(normalize(images))
        loss = F.cross_entropy(logits, labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return Watched(network, normalize, CLASSES)


def session(checkpoint: Path | None = None) -> Session:
    return Session(checkpoint, 0, Console(file=io.StringIO()))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def miou(watched: Watched, frames: Frames, attacker: nn.Module | None = None) -> float:
    samples = zip(frames.images, frames.labels, strict=True)
    return answers(watched, samples, attacker).matrix.miou('void_ignored')


class Noise(nn.Module):
    """White noise of a given PSNR: what any change of that strength does."""

    def __init__(self, psnr: float) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor(255 / 10 ** (psnr / 20)))
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn(images.shape, generator=self.generator)
        return (images + self.size * noise).clamp(0, 255)


@pytest.mark.parametrize('psnr', [20.0, 30.0])
def test_the_wanted_psnr_is_kept_and_the_victim_misled(watched, psnr):
    train, val = scenes(24, 0), scenes(8, 1)
    attack = AttackSettings(psnr=psnr, steps=100, validate_every=10)
    training = AutoencoderTraining(watched, train, val, attack)
    attacker = training.run(session())
    after = answers(watched, zip(val.images, val.labels, strict=True), attacker)
    assert training.keeps_psnr
    assert after.psnr >= psnr
    assert after.mean_psnr >= after.psnr
    # Strength is there to be used, not left over.
    assert after.psnr < psnr + 3
    clean, noisy = miou(watched, val), miou(watched, val, Noise(psnr))
    assert clean > 0.9
    assert after.matrix.miou('void_ignored') < noisy - (0.5 if psnr == 20 else 0.05)


def test_the_victim_is_only_asked(watched):
    before, random_state = state(watched), torch.get_rng_state()
    AutoencoderTraining(watched, scenes(8, 0), scenes(2, 1), ATTACK).run(session())
    assert same(before, state(watched))
    assert all(parameter.grad is None for parameter in watched.parameters())
    assert not any(parameter.requires_grad for parameter in watched.parameters())
    assert not any(module.training for module in watched.modules())
    assert torch.equal(random_state, torch.get_rng_state())


def test_the_best_attacker_is_the_worst_for_the_victim_that_keeps_the_psnr(watched):
    training = AutoencoderTraining(watched, scenes(24, 0), scenes(8, 1), ATTACK)
    training.run(session())
    kept = [row for row in training.history if row['psnr'] >= ATTACK.psnr]
    after = miou(watched, scenes(8, 1), training.attacker)
    assert after == pytest.approx(min(row['miou'] for row in kept))


def test_an_unreachable_psnr_gives_the_closest(watched):
    """A code of one channel cannot copy colours, so 60 dB is out of reach."""
    attack = AttackSettings(psnr=60.0, steps=6, validate_every=2, width=1)
    training = AutoencoderTraining(watched, scenes(8, 0), scenes(2, 1), attack)
    attacker = training.run(session())
    assert not training.keeps_psnr
    val = scenes(2, 1)
    after = answers(watched, zip(val.images, val.labels, strict=True), attacker)
    assert after.psnr == pytest.approx(max(row['psnr'] for row in training.history))


def test_an_interrupted_training_ends_where_the_whole_one_does(watched, tmp_path):
    train, val = scenes(9, 0), scenes(2, 1)
    whole = AutoencoderTraining(watched, train, val, ATTACK)
    expected = state(whole.run(session()))

    class CtrlC(Frames):
        left = 170

        def __getitem__(self, index):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__getitem__(index)

    path = tmp_path / 'attacker.pt'
    broken = AutoencoderTraining(watched, CtrlC(train.images, train.labels), val, ATTACK)
    with pytest.raises(KeyboardInterrupt):
        broken.run(session(path))
    assert 30 < torch.load(path, weights_only=True)['position']['step'] < 45
    resumed = AutoencoderTraining(watched, train, val, ATTACK)
    assert same(expected, state(resumed.run(session(path))))
    assert [row['miou'] for row in resumed.history] == [row['miou'] for row in whole.history]
    assert [row['step'] for row in resumed.history] == [15, 30, 45, 60]
    # A finished training is read, not repeated.
    finished = AutoencoderTraining(watched, train, val, ATTACK)
    finished._loss = lambda *_: pytest.fail('trained again')
    assert same(expected, state(finished.run(session(path))))
    other = AttackSettings(**{**vars(ATTACK), 'psnr': 21.0, 'width': 4})
    with pytest.raises(StorageError, match=r'attacker\.pt was written with other settings'):
        AutoencoderTraining(watched, train, val, other).run(session(path))


def test_the_constraint_finds_the_constrained_optimum():
    """Of all x with mean square <= b, the one along g has the largest product with g."""
    torch.manual_seed(0)
    g, budget = torch.randn(20), 0.04
    x = torch.zeros(20, requires_grad=True)
    optimizer = torch.optim.Adam([x], 0.02)
    multiplier = 0.0
    for step in range(1500):
        optimizer.param_groups[0]['lr'] = 0.02 * (1 - step / 1500)
        loss, multiplier = constrained_loss(g @ x, x.square().mean(), budget, multiplier)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = g / g.norm() * (budget * 20) ** 0.5
    torch.testing.assert_close(x.detach(), best, rtol=0.02, atol=0.01)
    # The multiplier is the gain per change of ln(budget): half of g x, by differentiating it.
    assert multiplier == pytest.approx((g @ best).item() / 2, rel=0.05)


def test_within_the_budget_the_change_is_free():
    change = torch.tensor(0.5, requires_grad=True)
    loss, multiplier = constrained_loss(torch.tensor(2.0), change, 1.0, 0.0)
    assert loss.item() == pytest.approx(-2)
    assert multiplier == 0
    (slope,) = torch.autograd.grad(loss, change)
    assert slope == 0
    excessive = torch.tensor(2.0, requires_grad=True)
    loss, multiplier = constrained_loss(torch.tensor(2.0), excessive, 1.0, 0.0)
    assert torch.autograd.grad(loss, excessive)[0] > 0
    assert multiplier > 0


def test_void_and_unknown_labels_do_not_count():
    logits = torch.randn(2, CLASSES + 1, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 255, 9]).expand(2, 4, 5)
    weights = torch.tensor([1.0, 2.0, 0.5, 0.0])
    loss = victim_loss(logits, labels, weights, CLASSES)
    log_p = logits.log_softmax(1)
    terms = [(weights[c] * -log_p[:, c, :, c]).sum().item() for c in range(CLASSES)]
    assert loss.item() == pytest.approx(sum(terms) / (8 * 3.5), rel=1e-5)


def test_rare_classes_weigh_more_and_void_nothing():
    labels = np.full((10, 10), 0, np.uint8)
    labels[0], labels[1], labels[2] = 1, 255, 9
    weights = victim_weights([labels], 2, 3)
    # ENet: 1 / ln(1.02 + share), of the 80 pixels that are a class.
    raw = 1 / np.log(1.02 + np.array([70, 10]) / 80)
    np.testing.assert_allclose(weights[:2], raw / raw.mean(), rtol=1e-5)
    assert weights[2] == 0


def test_answers_are_counted_at_label_size_and_images_rounded(watched):
    frames = scenes(2, 3)
    double = [np.kron(labels, np.ones((2, 2), np.uint8)) for labels in frames.labels]
    attacker = MaliciousAutoencoder()
    plain = answers(watched, zip(frames.images, frames.labels, strict=True), attacker)
    larger = answers(watched, zip(frames.images, double, strict=True), attacker)
    np.testing.assert_array_equal(larger.matrix.counts, 4 * plain.matrix.counts)
    # Unknown objects (label 9) are void: only classes have rows.
    assert plain.matrix.counts[-1].sum() == 2 * 2 * WIDTH
    shown, change = attack_image(attacker, frames.images[0])
    assert shown.dtype == np.uint8
    difference = shown.astype(float) - frames.images[0]
    assert change == pytest.approx(np.square(difference).mean(), rel=1e-5)
    assert plain.squared_changes[0] == pytest.approx(change)


def test_the_report_states_the_fall_and_both_psnr(watched):
    frames = scenes(3, 3)
    before = answers(watched, zip(frames.images, frames.labels, strict=True))
    after = answers(watched, zip(frames.images, frames.labels, strict=True), Noise(12))
    names = ['a', 'b', 'c']
    report = damage_report(before, after, names, 'void_ignored')
    assert report['before'] == before.matrix.report(names, 'void_ignored')
    fall = 1 - report['after']['miou'] / report['before']['miou']
    assert report['relative_fall'] == pytest.approx(100 * fall, abs=0.01)
    assert report['lowest_psnr'] <= report['psnr'] <= report['mean_psnr']
    assert report['psnr'] == pytest.approx(
        10 * np.log10(255**2 / np.mean(after.squared_changes)), abs=1e-3
    )
    unchanged = damage_report(before, before, names, 'void_ignored')
    assert unchanged['psnr'] is None
    assert unchanged['relative_fall'] == 0


def test_a_victim_that_learns_resists_and_the_watched_one_stays(watched):
    train, val = scenes(24, 0), scenes(8, 1)
    attack = AttackSettings(psnr=24.0, steps=60, validate_every=20)
    attacker = AutoencoderTraining(watched, train, val, attack).run(session())
    watched_before, attacker_before = state(watched), state(attacker)
    victim = trainable_copy(watched)
    statistics = {k: v for k, v in state(victim).items() if 'running' in k or 'tracked' in k}
    attacked = miou(watched, val, attacker)
    harden(victim, attacker, train, attack, VictimSettings(1, 80, 5e-3), 0, session())
    assert miou(victim, val, attacker) > attacked + 0.3
    assert miou(victim, val) > 0.8
    assert same(watched_before, state(watched))
    assert same(attacker_before, state(attacker))
    assert all(p.grad is None for p in [*watched.parameters(), *attacker.parameters()])
    assert statistics
    assert all(torch.equal(value, victim.state_dict()[name]) for name, value in statistics.items())


def test_rounds_alternate_and_continue_after_an_interruption(watched, tmp_path, monkeypatch):
    train, val = scenes(12, 0), scenes(4, 1)
    attack = AttackSettings(psnr=24.0, steps=30, validate_every=15)
    settings = VictimSettings(2, 30, 5e-3)
    before = state(watched)

    def rounds(folder):
        return train_alternately(watched, train, val, attack, settings, folder, session())

    attacker, hardened, rows = rounds(tmp_path / 'whole')
    assert [row['round'] for row in rows] == [0, 1, 2]
    assert rows[0]['clean'] == pytest.approx(miou(watched, val))
    assert all(row['hardened'] > row['attacked'] for row in rows[:-1])
    assert 'hardened' not in rows[-1]
    victim = copy.deepcopy(watched)
    victim.network = hardened
    assert rows[-1]['attacked'] == pytest.approx(miou(victim, val, attacker))
    assert same(before, state(watched))
    assert not any(parameter.requires_grad for parameter in hardened.parameters())

    calls = []

    def power_cut(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return harden(*args)

    target = 'offline_training.attacks.alternate_training.harden'
    monkeypatch.setattr(target, power_cut)
    with pytest.raises(KeyboardInterrupt):
        rounds(tmp_path / 'cut')
    monkeypatch.setattr(target, harden)
    resumed_attacker, resumed, resumed_rows = rounds(tmp_path / 'cut')
    assert same(state(resumed), state(hardened))
    assert same(state(resumed_attacker), state(attacker))
    assert resumed_rows == rows


@pytest.mark.parametrize(
    ('kind', 'values', 'message'),
    [
        (AttackSettings, {'psnr': 0.0}, 'psnr is 0'),
        (AttackSettings, {'psnr': 30.0, 'steps': 0}, 'steps is 0'),
        (AttackSettings, {'psnr': 30.0, 'learning_rate': 0.0}, 'learning_rate'),
        (VictimSettings, {'rounds': 0}, 'rounds is 0'),
        (VictimSettings, {'rounds': 1, 'clean_share': 1.0}, 'clean_share is 1'),
    ],
)
def test_impossible_settings_are_refused(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)
