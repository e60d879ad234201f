"""The exported form of the networks computes what its name says."""

import pytest
import torch
from torch import nn

from offline_training.detectors.observer.observer import Observer, local_contrast
from offline_training.learning.store import StorageError
from offline_training.watched.base import Watched
from offline_training.watched.graphs import (
    chosen_taps,
    energy_map,
    label_map,
    tap_shapes,
)
from offline_training.watched.normalization import InputConfig, Normalize


def test_label_map_is_argmax_with_the_first_on_ties():
    torch.manual_seed(0)
    logits = torch.randint(-3, 4, (2, 7, 16, 24)).float()
    expected = torch.from_numpy(logits.numpy().argmax(axis=1))
    assert torch.equal(label_map(logits).long(), expected)
    assert label_map(logits).dtype == torch.int32


def test_energy_is_high_where_logits_are_low_and_survives_large_ones():
    logits = torch.zeros(1, 4, 8, 8)
    logits[:, 0, :, 4:] = 5e4
    energy = energy_map(logits)
    assert energy.shape == (1, 1, 2, 2)
    assert torch.isfinite(energy).all()
    assert (energy[..., 0] > energy[..., 1]).all()
    small = torch.randn(1, 4, 8, 8)
    pooled = nn.functional.avg_pool2d(small, 4)
    assert torch.allclose(energy_map(small)[:, 0], -pooled.logsumexp(1), atol=1e-5)


def test_local_contrast_sees_texture_not_level():
    torch.manual_seed(0)
    x = torch.full((1, 1, 32, 32), 7.0)
    x[..., 16:] += torch.randn(1, 1, 32, 16)
    contrast = local_contrast(x)[0, 0, 2:-2]
    assert contrast[:, 2:14].max() < 0.05
    assert contrast[:, 18:30].min() > 0.1
    # Against NumPy, without the border.
    window = x[0, 0, 9:12, 19:22].double()
    assert contrast[8, 20].item() == pytest.approx(window.std(correction=0).item(), abs=1e-3)


class TwoTaps(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 4, 3, 2, 1)
        self.coarse = nn.Conv2d(4, 6, 3, 4, 1)
        self.classify = nn.Conv2d(6, 5, 1)

    def features(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        logits = nn.functional.interpolate(self.classify(coarse), scale_factor=8.0)
        return logits, {'fine': fine, 'coarse': coarse}


def test_chain_of_shapes():
    torch.manual_seed(0)
    backbone = TwoTaps()
    shapes = tap_shapes(backbone, 32, 48)
    assert shapes == {'fine': (4, 2), 'coarse': (6, 8)}
    watched = Watched(backbone, Normalize(InputConfig()), 5)
    seen = watched.look(torch.zeros(1, 32, 48, 3, dtype=torch.uint8))
    assert seen['labels'].shape == (1, 32, 48)
    assert seen['energy'].shape == (1, 1, 8, 12)
    assert list(seen.taps) == list(shapes)
    observed = Observer(shapes, 16).eval()(seen)
    assert observed.shape == (1, 2, 8, 12)


def test_a_tap_that_is_not_there_is_named():
    shapes = {'fine': (4, 2), 'coarse': (6, 8)}
    assert chosen_taps(shapes, ['coarse'], 'flow.taps') == {'coarse': (6, 8)}
    with pytest.raises(StorageError, match=r'flow.taps names middle but .* fine, coarse; correct'):
        chosen_taps(shapes, ['middle'], 'flow.taps')


def test_what_is_seen_is_read_by_name_and_remembered():
    torch.manual_seed(0)
    watched = Watched(TwoTaps(), Normalize(InputConfig()), 5)
    images = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8)
    seen = watched.look(images, ['pre/coarse', 'post/coarse', 'pre/nowhere'])
    assert not seen.read
    assert torch.equal(seen['pre/coarse'], seen['fine'])
    assert torch.equal(seen['post/coarse'], seen['coarse'])
    assert torch.equal(seen['labels'], seen['logits'].argmax(dim=1).int())
    assert list(seen.read) == ['pre/coarse', 'fine', 'post/coarse', 'coarse', 'labels', 'logits']
    with pytest.raises(KeyError, match='pre/nowhere'):
        seen['pre/nowhere']
    # Of a graph's inputs there are no logits to compute from, only what was given.
    assert torch.equal(type(seen)({'labels': seen['labels']})['labels'], seen['labels'])
