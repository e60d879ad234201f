"""DropBlock: square blocks inside the map, the rate of the paper, repeatable, exportable."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.ops import drop_block2d

from offline_training.segmentation.backbones.dropblock import (
    DropBlock2D,
    drop_block,
    drop_block_mask,
    seed_probability,
)
from offline_training.watched.onnx_gates import check_graph

sides = st.integers(1, 12)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.integers(1, 14), st.floats(0, 0.9), st.integers(0, 99))
def test_mask_is_the_union_of_squares_at_the_seeds(height, width, block, rate, seed):
    shape = (2, 3, height, width)
    mask = drop_block_mask(shape, block, rate, torch.Generator().manual_seed(seed))
    rows, columns = min(block, height), min(block, width)
    gamma = seed_probability(rate, (rows, columns), (height, width))
    places = (2, 3, height - rows + 1, width - columns + 1)
    seeds = torch.rand(places, generator=torch.Generator().manual_seed(seed)) < gamma
    expected = np.ones(shape, np.float32)
    for b, c, i, j in seeds.nonzero().tolist():
        expected[b, c, i : i + rows, j : j + columns] = 0
    np.testing.assert_array_equal(mask.numpy(), expected)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.floats(0, 1))
def test_seeds_times_block_area_is_the_wanted_share(height, width, block, rate):
    rows, columns = min(block, height), min(block, width)
    gamma = seed_probability(rate, (rows, columns), (height, width))
    places = (height - rows + 1) * (width - columns + 1)
    assert gamma * places * rows * columns == pytest.approx(rate * height * width)
    assert 0 <= gamma <= 1


@pytest.mark.parametrize(('block', 'rate'), [(1, 0.3), (5, 0.2), (7, 0.1)])
def test_dropped_share_is_that_of_torchvision(block, rate):
    mask = drop_block_mask((64, 8, 21, 20), block, rate, torch.Generator().manual_seed(5))
    torch.manual_seed(6)
    theirs = drop_block2d(torch.ones(64, 8, 21, 20), rate, block)
    assert (mask == 0).float().mean().item() == pytest.approx(
        (theirs == 0).float().mean().item(), abs=0.012
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.sampled_from([1, 4]))
def test_rescaling_keeps_the_sum_of_a_constant_map(seed, channels):
    mask = drop_block_mask((3, channels, 9, 8), 2, 0.4, torch.Generator().manual_seed(seed))
    out = drop_block(torch.full((3, 4, 9, 8), 2.0), mask)
    torch.testing.assert_close(out.mean(dim=(1, 2, 3)), torch.full((3,), 2.0))
    assert ((out == 0) == (mask == 0).expand_as(out)).all()


def test_samples_do_not_depend_on_each_other():
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 1, 6, 6)
    mask[0, :, :3] = 0
    out = drop_block(x, mask)
    assert torch.equal(out[1], x[1])
    torch.testing.assert_close(out[0, :, 3:], 2 * x[0, :, 3:])
    assert not drop_block(x, torch.zeros_like(mask)).any()


def test_module_is_the_identity_in_evaluation_and_repeatable_in_training():
    x = torch.randn(2, 6, 20, 20, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(7)
    module = DropBlock2D(3, 0.3, generator=generator)
    assert module.eval()(x) is x
    state = torch.get_rng_state()
    first, second = module.train()(x), module(x)
    generator.manual_seed(7)
    assert torch.equal(module(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(module.state_dict())


def test_shared_blocks_hit_all_channels_and_others_do_not():
    x = torch.ones(1, 6, 20, 20)
    generator = torch.Generator().manual_seed(8)
    shared = DropBlock2D(4, 0.3, shared=True, generator=generator)(x) == 0
    single = DropBlock2D(4, 0.3, generator=generator)(x) == 0
    assert (shared == shared[:, :1]).all()
    assert shared.any()
    assert not (single == single[:, :1]).all()


@pytest.mark.parametrize(('block', 'rate'), [(0, 0.1), (3, 1.0), (3, -0.1)])
def test_impossible_settings_are_refused(block, rate):
    with pytest.raises(ValueError, match='block_size'):
        DropBlock2D(block, rate)
    with pytest.raises(ValueError, match='block_size'):
        drop_block_mask((1, 1, 4, 4), block, rate)


def test_masks_are_inputs_of_an_engine(tmp_path):
    class Sampled(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return drop_block(x, mask).mean(dim=(2, 3))

    generator = torch.Generator().manual_seed(9)
    x = torch.randn(1, 5, 8, 10, generator=generator)
    mask = drop_block_mask((6, 1, 8, 10), 3, 0.5, generator)
    path = tmp_path / 'sampled.onnx'
    torch.onnx.export(
        Sampled().eval(),
        (x, mask),
        path,
        dynamo=True,
        opset_version=18,
        external_data=False,
        verbose=False,
    )
    check_graph(path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_inputs()]
    for feed in (mask, drop_block_mask((6, 1, 8, 10), 3, 0.5, generator)):
        (result,) = session.run(None, dict(zip(names, (x.numpy(), feed.numpy()), strict=True)))
        np.testing.assert_allclose(result, Sampled()(x, feed), rtol=1e-5, atol=1e-6)
