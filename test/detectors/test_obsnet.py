"""ObsNet: the copied topology, the added features, what the ablations take away, the training."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support.colour_network import (
    CLASSES,
    ColourNetwork,
    normal_frames,
    some_images,
    watched_network,
)
from torch import nn

from offline_training.attacks.local_adversarial import NOISE
from offline_training.data.frames import Frames
from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.obsnet.obsnet import ObsNet
from offline_training.detectors.obsnet.obsnet_network import (
    Layout,
    ObserverNetwork,
    SmallObserver,
    initialise,
)
from offline_training.detectors.obsnet.obsnet_training import (
    Training,
    attacked,
    crop_side,
    draw,
    loss,
)
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.segmentation.backbones import build_backbone
from offline_training.watched.activations import activations
from offline_training.watched.base import Watched
from offline_training.watched.export import export_watched
from offline_training.watched.normalization import InputConfig, Normalize

QUICK = {'crop': 1.0, 'zoom': 1.0, 'learning_rate': 1e-2}
FRAMES = normal_frames()


@cache
def trained(**settings: bool) -> ObsNet:
    return ObsNet(epochs=2, paste=1.0, **QUICK, **settings).fit(watched_network(), FRAMES)


def other_network() -> Watched:
    """The same topology with other weights: other features for the same images."""
    watched = watched_network()
    generator = torch.Generator().manual_seed(3)
    for parameter in watched.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return watched


def deaf_network() -> Watched:
    """A network that answers every image alike."""
    watched = watched_network()
    nn.init.zeros_(watched.network.early.weight)
    return watched


def started(target: nn.Module, pretrained: bool = True) -> ObserverNetwork:
    torch.manual_seed(0)
    observer = ObserverNetwork(Layout(target, 32, 48))
    initialise(observer, target if pretrained else None, torch.device('cpu'))
    return observer.eval()


@pytest.mark.parametrize(
    ('name', 'blocks'),
    [
        (
            'espnet',
            'level1 down2 esp2 level2 down3 esp3 level3 classify3 up3 classify2 combine2 '
            'up2 decoder up1',
        ),
        ('enet', 'down1 stage1 down2 stage2 stage3 up4 stage4 up5 stage5 classifier'),
        (
            'segnet',
            ' '.join(
                [
                    *(f'encoder.down{i}' for i in (2, 3, 4, 5)),
                    *(f'decoder.up{i}' for i in (5, 4, 3, 2, 1)),
                ]
            ),
        ),
    ],
)
def test_every_network_is_cut_into_its_blocks(name, blocks):
    with torch.device('meta'):
        network = build_backbone(name, num_classes=11)
    layout = Layout(network, 64, 64)
    assert sorted(layout.blocks) == sorted(blocks.split())
    observer = ObserverNetwork(layout)
    features = {
        block: torch.zeros(1, device='meta').expand(1, layout.channels[block], 1, 1)
        for block in layout.blocks
    }
    x = torch.empty(2, 3, 64, 64, device='meta')
    assert observer(x, features, torch.empty(2, 11, 64, 64, device='meta')).shape == (2, 64, 64)


def test_features_are_added_to_what_the_blocks_receive():
    target = watched_network().network
    observer = started(other_network().network)
    x = torch.rand(2, 3, 32, 48)
    names = [f'pre/{name}' for name in observer.blocks]
    with activations(target, names) as found, torch.no_grad():
        logits, taps = target.features(x)
        seen = {name.removeprefix('pre/'): value for name, value in found.items()}
        actual = observer(x, seen, logits)
    assert list(seen) == list(observer.blocks) == ['norm', 'late', 'head']
    # The same by hand, from the convolutions of the target and of the copy.
    copied = observer.network
    with torch.no_grad():
        early = copied.norm(copied.early(x) + target.early(x)).relu()
        late = copied.late(early + taps['early']).relu()
        own = nn.functional.interpolate(
            copied.head(late + taps['late']), scale_factor=4.0, mode='bilinear'
        )
        expected = observer.head(own + logits)[:, 0]
    torch.testing.assert_close(actual, expected)


def test_nothing_hangs_on_the_target_even_after_an_error():
    network = ColourNetwork()
    with pytest.raises(ZeroDivisionError), activations(network, ['pre/late']):
        raise ZeroDivisionError
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_the_observer_begins_as_a_copy_of_the_target_or_not():
    target = watched_network().network
    for pretrained in (True, False):
        state = started(target, pretrained).network.state_dict()
        same = [
            torch.equal(state[key], value)
            for key, value in target.state_dict().items()
            if key.endswith('weight') and not key.startswith('norm')
        ]
        assert all(same) == pretrained
        assert any(same) == pretrained


def test_two_passes_through_the_target_are_not_needed():
    calls = []
    watched = watched_network()
    trained().score_map(watched, some_images(unknown=False))
    handle = watched.network.late.register_forward_hook(lambda *_: calls.append(1))
    trained().score_map(watched, some_images(unknown=False))
    handle.remove()
    assert len(calls) == 1


def test_without_residual_connections_the_target_is_not_asked():
    images = some_images(unknown=True)
    for settings, same in (({'residual': False}, True), ({}, False)):
        detector = trained(**settings)
        scores = [detector.score_map(w, images) for w in (watched_network(), other_network())]
        assert torch.equal(*scores) == same


@pytest.mark.parametrize(
    ('settings', 'sees'), [({}, True), ({'image': False}, False), ({'small': True}, False)]
)
def test_without_the_image_only_features_count(settings, sees):
    first, second = (
        trained(**settings).score_map(deaf_network(), some_images(unknown)) for unknown in (0, 1)
    )
    assert torch.allclose(first, second, atol=1e-5) != sees


def test_the_small_observer_reads_the_last_blocks_only():
    with torch.device('meta'):
        layout = Layout(build_backbone('espnet', num_classes=11), 64, 64)
    small, full = SmallObserver(layout), ObserverNetwork(layout)
    assert small.blocks == ('up2', 'decoder', 'up1')
    count = [sum(p.numel() for p in observer.parameters()) for observer in (small, full)]
    assert count[0] < 0.2 * count[1]


def test_an_untrained_start_and_natural_failures_are_possible():
    detector = ObsNet(epochs=1, attack=None, pretrained=False, **QUICK)
    score = detector.fit(watched_network(), FRAMES).score_map(
        watched_network(), some_images(unknown=False)
    )
    assert score.shape == (3, 32, 48)
    assert score.isfinite().all()


def test_it_finds_failures_of_a_network_that_is_attacked():
    watched = watched_network()
    # Without confidence: the softmax of the target alone would find them.
    settings = {'epsilon': 40, 'paste': 0.0, 'confidence': False, **QUICK}
    detector = ObsNet(epochs=15, **settings).fit(watched, FRAMES)
    images, labels = next(normal_frames(6).batches(6, watched.device))
    moved = attacked(
        watched, images, labels, Training(epsilon=40), torch.Generator().manual_seed(8)
    )
    wrong = watched(moved).argmax(dim=1) != labels
    assert 0.01 < wrong.float().mean() < 0.5
    curve = PixelCurve()
    curve.update(detector.score_map(watched, moved).numpy(), wrong.numpy())
    assert curve.auroc() > 0.8


def all_drawn(frames: Frames, training: Training, seed: int) -> list[torch.Tensor]:
    drawn = [
        draw(frames, training, index, np.random.default_rng((seed, index)), 0.0)
        for index in range(len(frames))
    ]
    return [torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True)]


def test_pasted_objects_teach_the_unknown():
    watched, frames = watched_network(), normal_frames(8)
    still = Training(paste=1.0, crop=1.0, zoom=1.0, jitter=0.0)
    images, _, pasted = all_drawn(frames, still, 9)
    gain = {}
    for paste in (0.0, 1.0):
        settings = {'paste': paste, 'attack': None, 'jitter': 0.0, 'confidence': False, **QUICK}
        detector = ObsNet(epochs=20, **settings).fit(watched, FRAMES)
        chance = detector.score_map(watched, images).sigmoid()
        gain[paste] = chance[pasted].mean() - chance[~pasted].mean()
    assert gain[1.0] > 1.3 * gain[0.0] > 0


def test_the_attack_stays_in_its_region_and_within_its_step():
    watched = watched_network()
    images, labels = next(FRAMES.batches(4, watched.device))
    training = Training(attack='min_square_patch', epsilon=5)
    moved = attacked(watched, images, labels, training, torch.Generator().manual_seed(0))
    change = (moved - images.float()).abs().amax(dim=3)
    assert 0 < change.max() <= 5 + 2 * NOISE + 1e-3
    for each in change:
        rows, columns = np.nonzero(each.numpy() > 0)
        assert np.ptp(rows) < 0.46 * each.shape[0]
        assert np.ptp(columns) < 0.46 * each.shape[1]
    assert torch.equal(
        attacked(watched, images, labels, Training(attack=None), torch.Generator()),
        images.float(),
    )


def test_void_can_be_attacked_around():
    watched = watched_network()
    images, labels = next(FRAMES.batches(2, watched.device))
    void = torch.full_like(labels, 255)
    moved = attacked(
        watched, images, void, Training(attack='min_all_image'), torch.Generator().manual_seed(0)
    )
    assert (moved - images.float()).abs().max() <= 2 * NOISE + 1e-3


@pytest.mark.parametrize('void', ['error', 'ignore'])
def test_the_loss_is_weighted_cross_entropy_of_the_error(void):
    rng = np.random.default_rng(0)
    shape = (2, 5, 6)
    logits = rng.normal(size=shape)
    predicted, labels = rng.integers(0, 3, shape), rng.integers(0, 3, shape)
    labels[0] = 255
    pasted = rng.random(shape) < 0.2
    total = count = 0.0
    for z, p, y, unknown in zip(
        logits.flat, predicted.flat, labels.flat, pasted.flat, strict=True
    ):
        if void == 'ignore' and y == 255 and not unknown:
            continue
        wrong = p != y or unknown
        chance = 1 / (1 + np.exp(-z))
        total += -3 * np.log(chance) if wrong else -np.log(1 - chance)
        count += 1
    actual = loss(
        *(torch.from_numpy(each) for each in (logits, predicted, labels, pasted)),
        Training(void=void, positive_weight=3.0),
    )
    assert actual.item() == pytest.approx(total / count, rel=1e-6)


def test_drawn_images_fit_the_network_and_follow_the_seed():
    frames = Frames(
        *zip(
            *(
                (np.full((50, 70, 3), 9 * i, np.uint8), np.full((50, 70), i % CLASSES, np.uint8))
                for i in range(4)
            ),
            strict=True,
        )
    )
    training = Training(crop=0.5, paste=1.0)
    first, second = (all_drawn(frames, training, 5) for _ in range(2))
    images, labels, pasted = first
    assert images.shape == (4, crop_side(50, 0.5), crop_side(70, 0.5), 3) == (4, 24, 32, 3)
    assert (
        labels.tolist()
        == np.broadcast_to(np.arange(4)[:, None, None] % CLASSES, (4, 24, 32)).tolist()
    ), 'a crop must not reach beyond the image'
    assert pasted.any(dim=(1, 2)).all()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    'settings',
    [
        {'attack': 'max_everything'},
        {'void': 'maybe'},
        {'optimizer': 'adam'},
        {'paste': 1.5},
        {'batch_size': 1},
        {'residual': False, 'image': False},
        {'residual': False, 'small': True},
    ],
)
def test_wrong_settings_are_named(settings):
    with pytest.raises(ValueError, match='|'.join(settings)):
        ObsNet(**settings)


def test_other_networks_are_refused():
    with pytest.raises(NotApplicableError, match='per image'):
        ObsNet(epochs=1).fit(watched_network(classify=True), FRAMES)
    normalize = Normalize(InputConfig(mean=(0, 0, 0), std=(255, 255, 255)))
    other = Watched(build_backbone('enet', num_classes=4), normalize, CLASSES)
    with pytest.raises(NotApplicableError, match='another shape'):
        trained().score_map(other, some_images(unknown=False))


@pytest.mark.slow
@pytest.mark.parametrize('small', [False, True])
def test_on_espnet_it_can_be_exported(small, tmp_path: Path):
    torch.manual_seed(0)
    normalize = Normalize(InputConfig(mean=(0, 0, 0), std=(255, 255, 255)))
    watched = Watched(build_backbone('espnet', num_classes=11), normalize, 11)
    frames = Frames(
        *zip(
            *(
                (image.repeat(2, 0).repeat(2, 1), labels.repeat(2, 0).repeat(2, 1))
                for image, labels in zip(FRAMES.images, FRAMES.labels, strict=True)
            ),
            strict=True,
        )
    )
    detector = ObsNet(epochs=1, crop=1.0, small=small).fit(watched, frames)

    image = torch.from_numpy(frames.images[0])[None]
    (exported,) = detector.export(watched, image, tmp_path)
    assert exported.gates['parity_error'] < 1e-3
    behind = export_watched('backbone', watched, [exported], image, tmp_path)
    assert {each.name for each in exported.network.inputs} <= {
        'image',
        *(each.name for each in behind.network.outputs),
    }
