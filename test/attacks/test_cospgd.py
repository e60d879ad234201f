"""CosPGD's own part: the weight of each pixel. Bounds and direction: test_gradient_attacks.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from offline_training.attacks.gradient_sign import cosine_similarity, cospgd, pgd


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(1, 9))
def test_cosine_similarity_is_that_of_softmax_and_one_hot(seed, classes):
    logits = 5 * torch.randn(2, classes, 3, 4, generator=seeded(seed))
    labels = torch.randint(classes, (2, 3, 4), generator=seeded(seed))
    one_hot = F.one_hot(labels, classes).permute(0, 3, 1, 2).float()
    expected = F.cosine_similarity(logits.softmax(1), one_hot, dim=1)
    assert torch.allclose(cosine_similarity(logits, labels), expected, atol=1e-5)


def test_cospgd_spends_nothing_on_pixels_that_are_wrong_already():
    """Two pixels that share their input: only the one that is still right decides the step."""
    images = torch.full((1, 3, 1, 1), 100.0)

    def two_pixels(x: Tensor) -> Tensor:
        value = x.mean(dim=(1, 2, 3))
        right = torch.stack([4 - (value - 100) * 0.1, -4 + (value - 100) * 0.1], 1)
        # Hopelessly wrong, and with the steeper slope: what plain PGD follows.
        wrong = torch.stack([-20 + (value - 100), 20 - (value - 100)], 1)
        return torch.stack([right, wrong], 2)[:, :, None]

    labels = torch.zeros(1, 1, 2, dtype=torch.long)
    # Raising the loss of the right pixel needs a brighter image, of the wrong one a darker.
    assert pgd(two_pixels, images, labels, 2.0, 5, seeded()).max() < 100
    assert cospgd(two_pixels, images, labels, 2.0, 5, seeded()).min() > 100


def test_targeted_cospgd_spends_little_on_pixels_that_say_it_already():
    """As above: one pixel is far from the wanted class, one, with the steeper slope, has it."""
    images = torch.full((1, 3, 1, 1), 100.0)

    def two_pixels(x: Tensor) -> Tensor:
        value = x.mean(dim=(1, 2, 3)) - 100
        far, there = -4 + 0.02 * value, 0.85 - 0.1 * value
        wanted = torch.stack([far, there], dim=1)
        return torch.stack([torch.zeros_like(wanted), wanted], dim=1)[:, :, None]

    labels = torch.ones(1, 1, 2, dtype=torch.long)
    arguments = (two_pixels, images, labels, 2.0, 5)
    # The far pixel needs a brighter image, the other a darker.
    assert pgd(*arguments, seeded(), targeted=True).max() < 100
    assert cospgd(*arguments, seeded(), targeted=True).min() > 100
