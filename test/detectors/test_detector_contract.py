"""What every detector of the registry must do; one tiny network, one obvious case."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from support.colour_network import PATCH, some_images, watched_network
from support.fitted_detectors import FRAMES, WATCHED, build, fitted
from torch import Tensor, nn

from offline_training import detectors
from offline_training.data.frames import Frames
from offline_training.detectors import DETECTORS
from offline_training.detectors.base import Detector, DetectorSpec
from offline_training.learning.store import StorageError, write_tensors
from offline_training.watched.base import Watched

every_detector = pytest.mark.parametrize('name', DETECTORS)


def scores(detector: Detector, images: Tensor, watched: Watched = WATCHED) -> list[Tensor]:
    """All that a detector says of images: its map if it has one, then the frame score."""
    maps = [detector.score_map(watched, images)] if detector.has_map else []
    return [*maps, detector.score_frame(watched, images)]


def assert_close(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-4) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        span = float(theirs.max() - theirs.min()) + float(theirs.abs().max()) + 1e-6
        assert (ours - theirs).abs().max() <= tolerance * span


def test_no_detector_is_forgotten():
    for module in pkgutil.walk_packages(detectors.__path__, f'{detectors.__name__}.'):
        importlib.import_module(module.name)
    found, more = set(), {Detector}
    while more:
        more = {child for parent in more for child in parent.__subclasses__()}
        found |= {
            child
            for child in more
            if child.__module__.startswith(detectors.__name__)
            and not inspect.isabstract(child)
            and hasattr(child, 'name')
        }
    assert found == set(DETECTORS.values())


@every_detector
def test_spec_is_complete(name):
    detector = build(name)
    spec = detector.spec
    assert isinstance(spec, DetectorSpec)
    assert spec.name == name
    assert re.fullmatch('[a-z][a-z0-9_]*', name)
    assert re.search(r'\b(19|20)\d\d\b', spec.paper), 'the year is missing'
    assert set(spec.inputs.split(', ')) <= {'logits', 'taps', 'image'}
    assert spec.passes >= 1
    assert spec.levels
    assert set(spec.levels) <= {'pixel', 'frame'}
    assert not (spec.exportable and spec.gradients), 'engines have no backward pass'
    assert type(detector).__doc__


@every_detector
def test_scores_have_the_promised_shape(name):
    images = some_images(unknown=True)
    *maps, frame = scores(fitted(name), images)
    for score in maps:
        assert score.ndim == 3
        assert len(score) == len(images)
        assert score.dtype == torch.float32
        assert score.isfinite().all()
        assert not score.requires_grad
    assert frame.shape == (len(images),)
    assert frame.dtype == torch.float32
    assert frame.isfinite().all()
    if not maps:
        with pytest.raises(TypeError, match='score_frame'):
            fitted(name).score_map(WATCHED, images)


@every_detector
def test_unknown_things_score_higher(name):
    detector, strange = fitted(name), some_images(unknown=True)
    normal = some_images(unknown=False)
    frame = detector.score_frame(WATCHED, strange)
    assert frame.mean() > detector.score_frame(WATCHED, normal).mean()
    if detector.has_map:
        score = detector.score_map(WATCHED, strange)
        score = nn.functional.interpolate(score[:, None], strange.shape[1:3])[:, 0]
        inside = torch.zeros(strange.shape[1:3], dtype=torch.bool)
        inside[PATCH] = True
        assert (score[:, inside].mean(dim=1) > score[:, ~inside].mean(dim=1)).all()


@every_detector
def test_a_score_depends_on_its_image_alone(name):
    images = torch.cat([some_images(unknown=True), some_images(unknown=False)])
    together = scores(fitted(name), images)
    alone = [scores(fitted(name), images[i : i + 1]) for i in (0, 4)]
    for i, single in zip((0, 4), alone, strict=True):
        assert_close(single, [score[i : i + 1] for score in together])


@every_detector
def test_scoring_is_repeatable_and_needs_no_global_randomness(name):
    images = some_images(unknown=True)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = scores(fitted(name), images)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(4)
    assert_close(scores(fitted(name), images), first, 0.0)


@every_detector
def test_fitting_is_repeatable(name):
    torch.manual_seed(2)
    again = build(name).fit(WATCHED, FRAMES).eval()
    images = some_images(unknown=True)
    assert_close(scores(again, images), scores(fitted(name), images))


@every_detector
@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off(name, mode):
    images = some_images(unknown=True)
    expected = scores(fitted(name), images)
    with mode():
        # An image that was made in inference mode has no gradient of its own either.
        assert_close(scores(fitted(name), images.float().clone()), expected)


@every_detector
def test_the_watched_network_is_untouched(name):
    watched = watched_network()
    before = {key: value.clone() for key, value in watched.state_dict().items()}
    places = {key: value.data_ptr() for key, value in watched.state_dict().items()}
    detector = build(name).fit(watched, FRAMES)
    detector.train()
    scores(detector.eval(), some_images(unknown=True), watched)
    after = watched.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert places == {key: value.data_ptr() for key, value in after.items()}
    for module in watched.modules():
        assert not module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for parameter in watched.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
    own = {id(tensor) for tensor in (*detector.parameters(), *detector.buffers())}
    assert not own & {id(tensor) for tensor in watched.parameters()}, 'would be saved twice'


@every_detector
def test_saved_and_loaded_it_scores_the_same(name, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError('a detector file must not need pickle')

    path = tmp_path / f'{name}.safetensors'
    monkeypatch.setattr(pickle, 'Pickler', refuse)
    monkeypatch.setattr(pickle, 'Unpickler', refuse)
    monkeypatch.setattr(torch, 'save', refuse)
    monkeypatch.setattr(torch, 'load', refuse)
    fitted(name).save(path)
    loaded = DETECTORS[name].load(path)
    with safe_open(path, 'pt') as file:
        assert list(file.keys())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]
    assert loaded.settings == type(fitted(name))(**fitted(name).settings).settings
    assert not loaded.training
    images = some_images(unknown=True)
    assert_close(scores(loaded, images), scores(fitted(name), images), 1e-6)


@every_detector
def test_files_of_others_and_damaged_files_are_refused(name, tmp_path):
    other = next(each for each in DETECTORS if each != name)
    fitted(other).save(tmp_path / 'other')
    with pytest.raises(StorageError, match=f"'{other}', not '{name}'"):
        DETECTORS[name].load(tmp_path / 'other')
    write_tensors(tmp_path / 'plain', {'x': torch.zeros(1)})
    with pytest.raises(StorageError, match='holds no detector'):
        DETECTORS[name].load(tmp_path / 'plain')
    detector = build(name)
    detector.register_buffer('left_over', torch.zeros(1))
    detector.save(tmp_path / 'strange')
    with pytest.raises(StorageError, match='strange'):
        DETECTORS[name].load(tmp_path / 'strange')


@every_detector
def test_before_fitting_it_says_so(name):
    detector, images = build(name).eval(), some_images(unknown=True)
    # Those with nothing to learn score from the start, and as they do after `fit`.
    learns = any(
        value.numel() != detector.state_dict().get(key, torch.empty(0)).numel()
        for key, value in fitted(name).state_dict().items()
    )
    if learns:
        with pytest.raises(RuntimeError, match=rf'{name}.*fit.*load'):
            scores(detector, images)
    else:
        assert_close(scores(detector, images), scores(fitted(name), images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@every_detector
def test_a_gpu_gives_the_same_scores(name):
    images = some_images(unknown=True)
    expected = scores(fitted(name), images)
    watched = watched_network().to('cuda')
    detector = build(name)
    detector.adopt(fitted(name).state_dict())
    actual = scores(detector.eval().to('cuda'), images.to('cuda'), watched)
    assert_close([score.cpu() for score in actual], expected, 1e-2)
    trained = build(name).to('cuda').fit(watched, FRAMES).eval()
    assert all(score.is_cuda for score in scores(trained, images.to('cuda'), watched))


def test_batches_of_frames_keep_order_and_types():
    images = [np.full((2, 3, 3), i, np.uint8) for i in range(5)]
    labels = [np.full((2, 3), i, np.uint8) for i in range(5)]
    batches = list(Frames(images, labels).batches(2, torch.device('cpu')))
    assert [len(image) for image, _ in batches] == [2, 2, 1]
    assert torch.cat([image[:, 0, 0, 0] for image, _ in batches]).tolist() == list(range(5))
    assert batches[0][0].dtype == torch.uint8
    assert batches[0][1].dtype == torch.int64
