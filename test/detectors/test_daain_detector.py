"""DAAIN from images to scores, to a file and to ONNX."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from offline_training.data.frames import Frames
from offline_training.detectors.daain.detector import Daain
from offline_training.learning.store import StorageError, read_tensors, write_tensors
from offline_training.watched.base import Watched

SIZE = (32, 48)
QUICK = {'points': 80, 'blocks': 4, 'epochs': 3, 'hidden': 8, 'grid': (2, 2)}
FLOWS = ('glow_linear', 'gin_linear', 'glow_1x1', 'gin_1x1', 'conditional')


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.second = nn.Sequential(
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.classify = nn.Conv2d(16, 5, 1)

    def features(self, x):
        x = self.second(self.first(x))
        return nn.functional.interpolate(self.classify(x), scale_factor=4.0), {}


class Classifier(Segmenter):
    def features(self, x):
        x = self.second(self.first(x))
        return self.classify(x).mean(dim=(2, 3)), {}


class Centre(nn.Module):
    def forward(self, images):
        return images.float().permute(0, 3, 1, 2) / 64 - 2


def watched_network(kind=Segmenter) -> Watched:
    torch.manual_seed(0)
    return Watched(kind(), Centre(), 5)


def smooth(count: int, seed: int) -> np.ndarray:
    """Bright above, dark below, and slow random changes of colour: uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(190, 70, SIZE[0])[:, None, None]
    fields = [
        slope + cv2.resize(rng.normal(0, 20, (3, 4, 3)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        for _ in range(count)
    ]
    return np.clip(fields, 0, 255).astype(np.uint8)


def frames(count: int = 40) -> Frames:
    return Frames(list(smooth(count, 0)), [np.zeros(SIZE, np.uint8)] * count)


def noisy(images: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.clip(images + rng.normal(0, 25, images.shape), 0, 255).astype(np.uint8)


def auroc(detector: Daain, watched: Watched, strange: np.ndarray) -> float:
    normal = smooth(30, 1)
    scores = [
        detector.score_frame(watched, torch.from_numpy(images)) for images in (normal, strange)
    ]
    return roc_auc_score([0] * 30 + [1] * 30, torch.cat(scores).numpy())


@pytest.mark.parametrize(
    ('flow', 'classifier'),
    [(flow, 'hbos') for flow in FLOWS]
    + [('glow_linear', 'mahalanobis'), ('glow_linear', 'euclidean')],
)
def test_noise_and_inverted_images_are_found(flow, classifier):
    watched = watched_network()
    detector = Daain(flow=flow, classifier=classifier, **QUICK).fit(watched, frames())
    assert auroc(detector, watched, noisy(smooth(30, 2))) > 0.95
    assert auroc(detector, watched, 255 - smooth(30, 2)) > 0.95


@pytest.mark.parametrize(('tap', 'layers'), [('post', 'convolution'), ('post', 'all')])
def test_other_activations(tap, layers):
    watched = watched_network()
    detector = Daain(tap=tap, layers=layers, **QUICK).fit(watched, frames())
    assert auroc(detector, watched, 255 - smooth(30, 2)) > 0.95


def test_a_classifier_is_watched_as_well():
    watched = watched_network(Classifier)
    detector = Daain(**QUICK).fit(watched, frames())
    assert auroc(detector, watched, noisy(smooth(30, 2))) > 0.95


@pytest.mark.parametrize('flow', ['glow_linear', 'conditional'])
@pytest.mark.parametrize('classifier', ['hbos', 'mahalanobis', 'euclidean', 'harmonic'])
def test_a_loaded_detector_gives_the_same_scores(tmp_path, flow, classifier):
    watched = watched_network()
    detector = Daain(flow=flow, classifier=classifier, **QUICK).fit(watched, frames(20))
    path = tmp_path / 'daain.safetensors'
    detector.save(path)
    loaded = Daain.load(path)
    images = torch.from_numpy(smooth(4, 3))
    scores = loaded.score_frame(watched, images)
    assert scores.shape == (4,)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, detector.score_frame(watched, images))
    assert loaded.key.digest == detector.key.digest
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert len(set(scores.tolist())) == 4


def test_fitting_is_repeatable_and_the_seed_is_a_secret():
    watched = watched_network()
    images = torch.from_numpy(smooth(4, 3))
    first, again, other = (
        Daain(seed=seed, **QUICK).fit(watched, frames(20)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.score_frame(watched, images), again.score_frame(watched, images))
    assert first.key.digest != other.key.digest


def test_fitting_and_scoring_leave_the_network_alone():
    watched = watched_network()
    before = {name: value.clone() for name, value in watched.state_dict().items()}
    images = torch.from_numpy(smooth(2, 3))
    expected = watched(images)
    Daain(**QUICK).fit(watched, frames(20)).score_frame(watched, images)
    assert torch.equal(watched(images), expected)
    assert all(torch.equal(before[n], v) for n, v in watched.state_dict().items())
    assert all(not module._forward_hooks for module in watched.modules())
    assert all(parameter.grad is None for parameter in watched.parameters())


def test_silent_units_do_not_shout():
    """Units that never spoke get the spread of their layer, not one of nearly zero."""
    watched = watched_network()
    detector = Daain(tap='post', layers='all', **QUICK).fit(watched, frames())
    standard = detector.scorer.standardise(
        detector.key.sample(
            watched.look(torch.from_numpy(smooth(30, 4)), detector.key.activations)
        )
    )
    assert standard.abs().max() < 60


@pytest.mark.parametrize('flow', FLOWS)
def test_the_fitted_flow_can_be_undone(flow):
    watched = watched_network()
    detector = Daain(flow=flow, **(QUICK | {'blocks': 16})).fit(watched, frames())
    sample = detector.key.sample(
        watched.look(torch.from_numpy(noisy(smooth(8, 4))), detector.key.activations)
    )
    standard = detector.scorer.standardise(sample)
    back = detector.scorer.flow.inverse(detector.scorer.latent(sample))
    assert (back - standard).abs().max() < 1e-4


def test_the_history_tells_whether_the_flow_learnt():
    detector = Daain(**QUICK).fit(watched_network(), frames())
    assert len(detector.history.train) == len(detector.history.kl) > 0
    assert all(np.isfinite(detector.history.kl))


def test_errors_say_what_to_do(tmp_path):
    watched = watched_network()
    images = torch.from_numpy(smooth(1, 0))
    with pytest.raises(RuntimeError, match='daain has not been fitted'):
        Daain().score_frame(watched, images)
    with pytest.raises(TypeError, match='use score_frame'):
        Daain().score_map(watched, images)
    with pytest.raises(ValueError, match="flow is 'planar'; choose glow_linear"):
        Daain(flow='planar')
    for settings in ({'points': 1}, {'blocks': 0}, {'hidden': 0}, {'epochs': 0}, {'grid': (2,)}):
        with pytest.raises(ValueError, match=f'daain: {next(iter(settings))} is .*give'):
            Daain(**settings)
    path = tmp_path / 'daain.safetensors'
    Daain().save(path)
    with pytest.raises(StorageError, match='never fitted'):
        Daain.load(path)
    Daain(**(QUICK | {'epochs': 1})).fit(watched, frames(10)).save(path)
    tensors = read_tensors(path)
    tensors['key.table'][1, 0] += 1
    write_tensors(path, tensors)
    with pytest.raises(StorageError, match='does not match its hash'):
        Daain.load(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('flow', 'classifier'),
    [
        ('glow_linear', 'hbos'),
        ('gin_linear', 'mahalanobis'),
        ('glow_1x1', 'euclidean'),
        ('conditional', 'harmonic'),
    ],
)
def test_onnx_gives_the_same_scores_with_one_gather_per_layer(tmp_path, flow, classifier):
    import onnx

    watched = watched_network()
    detector = Daain(flow=flow, classifier=classifier, **QUICK).fit(watched, frames(20))
    image = torch.from_numpy(smooth(1, 3))
    (exported,) = detector.export(watched, image, tmp_path)
    assert exported.gates['parity_error'] < 1e-3
    assert 'GatherND' not in exported.gates['operators']
    assert 'Gather' in exported.gates['operators']
    # No tensor of the size of the upsampled activation space.
    model = onnx.shape_inference.infer_shapes(onnx.load(exported.network.path))
    sizes = [
        np.prod([d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in model.graph.value_info
    ]
    channels = sum(channels for channels, _, _ in detector.key.shapes.values())
    assert max(sizes) < channels * SIZE[0] * SIZE[1]
