"""Standardized max logits (Jung et al., ICCV 2021) with the paper's two local corrections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.logit_scores.logit_scores import as_maps, known_logits
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.learning.session import QUIET, Session
from offline_training.watched.base import Seen, Watched

KERNEL = 7
"""Taps of the smoothing filter; its standard deviation is one tap, as in the paper."""
MIN_PIXELS = 2
MIN_DEVIATION = 1e-6


def boundaries(labels: Tensor, widths: list[int]) -> list[Tensor]:
    """Mark pixels that have another label within an L1 distance of `width`.

    Args:
        labels: integers (B, H, W).
        widths: distances in pixels, each at least 1.

    Returns:
        For each width a float32 map (B, 1, H, W) of 0 and 1.
    """
    rows = (labels[:, 1:] != labels[:, :-1]).float()
    columns = (labels[:, :, 1:] != labels[:, :, :-1]).float()
    edge = torch.maximum(
        torch.maximum(F.pad(rows, (0, 0, 0, 1)), F.pad(rows, (0, 0, 1, 0))),
        torch.maximum(F.pad(columns, (0, 1)), F.pad(columns, (1, 0))),
    )[:, None]
    found = {1: edge}
    for width in range(2, max(widths, default=1) + 1):
        # A step along rows or columns is one step of L1 distance.
        edge = torch.maximum(
            F.max_pool2d(edge, (3, 1), 1, (1, 0)), F.max_pool2d(edge, (1, 3), 1, (0, 1))
        )
        found[width] = edge
    return [found[width] for width in widths]


def suppress_boundaries(scores: Tensor, labels: Tensor, width: int = 4) -> Tensor:
    """Replace scores near class boundaries by those of the insides, from far to near.

    At boundaries the largest logit is low without anything unknown being there. Every boundary
    pixel takes the mean of its 3x3 neighbours outside the boundary, if it has any, and then the
    boundary is taken a pixel narrower on each side (paper, section 3.3, whose widths of 8, 6, 4
    and 2 count both sides).

    Args:
        scores: (B, H, W).
        labels: predicted classes, integers (B, H, W).
        width: pixels of the boundary on each side at first; 0 changes nothing.
    """
    scores = scores[:, None]
    for boundary in boundaries(labels, list(range(width, 0, -1))):
        inside = 1 - boundary
        share = F.avg_pool2d(inside, 3, 1, 1)
        mean = F.avg_pool2d(scores * inside, 3, 1, 1) / share.clamp_min(1e-3)
        scores = torch.where((boundary > 0) & (share > 0), mean, scores)
    return scores[:, 0]


def smooth(scores: Tensor, dilation: int = 6) -> Tensor:
    """Average (B, H, W) with a 7x7 Gaussian of one tap deviation; taps `dilation` pixels apart."""
    reach = KERNEL // 2
    weights = (-0.5 * torch.arange(-reach, reach + 1, device=scores.device).float() ** 2).exp()
    weights = weights / weights.sum()
    border = reach * dilation
    # Repeated borders, as zeros would look like ordinary scores.
    x = F.pad(scores[:, None], (border, border, border, border), mode='replicate')
    x = F.conv2d(x, weights.view(1, 1, -1, 1), dilation=(dilation, 1))
    return F.conv2d(x, weights.view(1, 1, 1, -1), dilation=(1, dilation))[:, 0]


class StandardizedMaxLogit(OnePassDetector):
    """The negated largest logit in standard deviations from its mean over the predicted class.

    `boundary_width` is how far on each side of a boundary scores are replaced and `dilation` the
    spacing of the smoothing taps, both in pixels of the logits; 0 switches the correction off. The
    paper's values (4 and 6) are for Cityscapes at 2048x1024.

    Raises:
        ValueError: `boundary_width` or `dilation` is negative.
    """

    name = 'standardized_max_logit'
    paper = (
        'Jung et al., Standardized Max Logits: A Simple yet Effective Approach for '
        'Identifying Unexpected Road Obstacles in Urban-Scene Segmentation, 2021'
    )
    inputs = 'logits'

    def __init__(self, boundary_width: int = 4, dilation: int = 6, batch_size: int = 4):
        super().__init__(boundary_width=boundary_width, dilation=dilation, batch_size=batch_size)
        if boundary_width < 0 or dilation < 0:
            raise ValueError(
                f'boundary_width is {boundary_width} and dilation {dilation} but neither may be '
                'negative; use 0 to switch one off'
            )
        self.mean: Tensor = nn.Buffer(torch.empty(0))
        self.deviation: Tensor = nn.Buffer(torch.empty(0))

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Learn mean and deviation of the largest logit per predicted class.

        A class that is predicted nowhere takes those of all pixels: it is rare by itself, and a
        guess from no data must not decide.
        """
        classes = watched.num_classes
        sums = torch.zeros(3, classes, dtype=torch.float64, device=watched.device)
        for images, _ in frames.batches(self.settings['batch_size'], watched.device):
            with torch.no_grad():
                logits = known_logits(watched, images)
            peak = logits.amax(dim=1).flatten().double()
            labels = logits.argmax(dim=1).flatten()
            for row, values in zip(sums, (torch.ones_like(peak), peak, peak * peak), strict=True):
                row += torch.bincount(labels, values, minlength=classes)
        total = sums.sum(dim=1, keepdim=True)
        count, first, second = torch.where(sums[0] < MIN_PIXELS, total, sums)
        mean = first / count
        deviation = (second / count - mean * mean).clamp_min(0).sqrt()
        self.mean = mean.float()
        self.deviation = deviation.clamp_min(MIN_DEVIATION).float()
        return self

    @property
    def fitted(self) -> bool:
        return self.mean.numel() > 0

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        logits = as_maps(seen['logits'])[:, : watched.num_classes]
        labels = logits.argmax(dim=1)
        # An embedding, because engines have no indexing by a map.
        expected, deviation = F.embedding(
            labels, torch.stack([self.mean, self.deviation], dim=1)
        ).unbind(dim=3)
        scores = (expected - logits.amax(dim=1)) / deviation
        scores = suppress_boundaries(scores, labels, self.settings['boundary_width'])
        dilation = self.settings['dilation']
        return smooth(scores, dilation) if dilation else scores
