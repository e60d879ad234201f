"""The attacker itself: what it computes, where it starts, its files, its ONNX graph."""

from __future__ import annotations

import argparse
from collections import OrderedDict

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from offline_training.attacks.malicious_autoencoder import (
    MaliciousAutoencoder,
    channels_reversed,
    export_attacker,
    load_attacker,
    psnr,
    squared_change,
    squared_change_at,
)
from offline_training.learning.store import StorageError, write_tensors
from offline_training.watched.onnx_gates import check_graph


def attacker(seed: int = 0, width: int = 8) -> MaliciousAutoencoder:
    torch.manual_seed(seed)
    return MaliciousAutoencoder(width).eval().requires_grad_(False)


def some_images(seed: int = 0, count: int = 2, height: int = 20, width: int = 28) -> Tensor:
    """Smooth scenes with some grain, float (B, 3, H, W) in 0..255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode='bilinear')
    grain = torch.rand(count, 3, height, width, generator=generator)
    return 255 * (0.9 * smooth + 0.1 * grain)


def by_loops(network: MaliciousAutoencoder, image: np.ndarray) -> np.ndarray:
    """Convolution and transposed convolution as sums over single pixels, image (3, H, W)."""
    code_weight, bias = network.encode.weight.numpy(), network.encode.bias.numpy()
    image_weight = network.decode.weight.numpy()
    _, height, width = image.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    out = np.zeros((3, height, width))
    for y in range(rows):
        for x in range(columns):
            code = bias.astype(float).copy()
            for dy in range(3):
                for dx in range(3):
                    v, u = 2 * y + dy - 1, 2 * x + dx - 1
                    if 0 <= v < height and 0 <= u < width:
                        code += code_weight[:, :, dy, dx] @ (image[:, v, u] / 255)
            for dy in range(3):
                for dx in range(3):
                    v, u = 2 * y + dy - 1, 2 * x + dx - 1
                    if 0 <= v < height and 0 <= u < width:
                        out[:, v, u] += code @ image_weight[:, :, dy, dx]
    return 255 * np.clip(out, 0, 1)


def test_the_original_has_440_parameters():
    assert sum(p.numel() for p in MaliciousAutoencoder().parameters()) == 440


@pytest.mark.parametrize('size', [(6, 8), (5, 7), (1, 2)])
def test_it_is_the_sum_over_single_pixels(size):
    network = attacker(3)
    # A free bias and strong weights, so that some pixels reach the clamp.
    network.encode.weight *= 3
    images = some_images(1, 1, *size)
    expected = by_loops(network, images[0].numpy())
    np.testing.assert_allclose(network(images)[0].numpy(), expected, atol=2e-3)
    if size == (6, 8):
        assert (expected == 0).any()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    gain=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_attacked_images_keep_shape_and_range(seed, height, width, gain):
    network = attacker(seed)
    network.decode.weight *= gain
    images = some_images(seed, 2, height, width)
    before = images.clone()
    attacked = network(images)
    assert attacked.shape == images.shape
    assert attacked.min() >= 0
    assert attacked.max() <= 255
    assert torch.equal(images, before)
    # One image's attack does not depend on its neighbours in the batch.
    torch.testing.assert_close(network(images[1:]), attacked[1:], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('width', [1, 3, 8])
def test_the_start_changes_images_as_little_as_its_code_allows(width):
    """Eckart and Young: no code of this width over 2x2 patches does better than the SVD."""
    network, images = attacker(0, width), some_images(5, 4)
    network.start_from_principal_components(images)
    patches = np.stack(
        [
            image[:, y : y + 2, x : x + 2].reshape(-1)
            for image in images.numpy().astype(float)
            for y in range(0, image.shape[1], 2)
            for x in range(0, image.shape[2], 2)
        ]
    )
    lost = np.linalg.svd(patches, compute_uv=False)[width:]
    assert squared_change(network(images), images).mean().item() <= (
        np.square(lost).sum() / patches.size + 1e-3
    )


@pytest.mark.parametrize('width', [12, 15])
def test_a_wide_code_starts_by_copying(width):
    network, images = attacker(0, width), some_images(6)
    network.start_from_principal_components(images)
    assert (network(images) - images).abs().max() < 1e-2


def test_psnr_is_that_of_opencv():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (10, 12, 3), np.uint8)
    second = rng.integers(0, 256, (10, 12, 3), np.uint8)
    a, b = (torch.from_numpy(p).permute(2, 0, 1)[None].float() for p in (first, second))
    assert psnr(squared_change(a, b).item()) == pytest.approx(cv2.PSNR(first, second), abs=1e-6)
    assert psnr(squared_change_at(23.5)) == pytest.approx(23.5)
    assert psnr(0.0) == float('inf')


def test_reversed_channels_do_to_bgr_what_the_attacker_does_to_rgb():
    network, images = attacker(4), some_images(2)
    twin = channels_reversed(network)
    torch.testing.assert_close(twin(images.flip(1)).flip(1), network(images), rtol=0, atol=1e-3)
    assert not torch.allclose(twin(images), network(images), atol=1)
    assert torch.equal(channels_reversed(twin).encode.weight, network.encode.weight)


def test_a_saved_attacker_comes_back_frozen(tmp_path):
    network, images = attacker(1, 5), some_images()
    write_tensors(tmp_path / 'attacker.safetensors', network.state_dict())
    loaded = load_attacker(tmp_path / 'attacker.safetensors')
    assert loaded.width == 5
    assert torch.equal(loaded(images), network(images))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training


def public_file(path, state):
    """A file in the layout of mal.pt: epoch, NumPy mIoU, optimizer, attacker and victim."""
    torch.save(
        {
            'epoch': 10,
            'miou': np.float64(0.0691),
            'optimizer': {'state': {}, 'param_groups': [{'lr': 5e-4}]},
            'state_dict': OrderedDict(state),
        },
        path,
    )
    return path


def test_an_unreadable_public_checkpoint_gets_no_advice_to_unpickle_it(tmp_path):
    path = tmp_path / 'mal.pt'
    torch.save({'state_dict': {}, 'args': argparse.Namespace(lr=1)}, path)
    with pytest.raises(StorageError, match='give the file of an attacker') as error:
        load_attacker(path)
    assert 'weights_only' not in str(error.value)
    assert 'arbitrary' not in str(error.value)


def test_of_the_public_checkpoint_only_the_attacker_is_read(tmp_path):
    network, images = attacker(7), some_images()
    victim = {
        'bboxmodel.initial_block.main_branch.weight': torch.ones(13, 3, 3, 3),
        'bboxmodel.encode.weight': torch.ones(1),
    }
    path = public_file(tmp_path / 'mal.pt', {**network.state_dict(), **victim})
    assert torch.equal(load_attacker(path)(images), network(images))


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        ({'encode.weight': torch.ones(8, 3, 3, 3)}, 'no attacker in the layout'),
        (
            {
                'encode.weight': torch.ones(8, 3, 3, 3),
                'encode.bias': torch.ones(8),
                'decode.weight': torch.ones(4, 3, 3, 3),
            },
            'does not fit the malicious autoencoder',
        ),
    ],
)
def test_other_checkpoints_are_refused(tmp_path, state, message):
    with pytest.raises(StorageError, match=message):
        load_attacker(public_file(tmp_path / 'other.pt', state))


def test_files_that_are_no_attacker_get_one_sentence(tmp_path):
    write_tensors(tmp_path / 'network.safetensors', {'conv.weight': torch.ones(2)})
    (tmp_path / 'broken.pt').write_bytes(b'nothing')
    torch.save([1, 2], tmp_path / 'list.pt')
    for name in ('network.safetensors', 'broken.pt', 'list.pt', 'none.pt', 'none.safetensors'):
        with pytest.raises(StorageError) as caught:
            load_attacker(tmp_path / name)
        assert name in str(caught.value)
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('size', [(24, 32), (15, 21)])
def test_engines_can_run_it(tmp_path, size):
    network, path = attacker(2), tmp_path / 'attacker.onnx'
    export_attacker(path, network, *size)
    check_graph(path)
    image = some_images(9, 1, *size)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (attacked,) = session.run(['attacked'], {'image': image.numpy()})
    np.testing.assert_allclose(attacked, network(image).numpy(), atol=1e-2)


def test_a_code_without_channels_is_refused():
    with pytest.raises(ValueError, match='at least 1'):
        MaliciousAutoencoder(0)
