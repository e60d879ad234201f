"""Residual Flow (Zisselman & Tamar, "Deep Residual Flow for Out of Distribution Detection", 2020).

The features of a class at a layer are nearly, but not quite, Gaussian. The flow starts exactly at
the Gaussian, so at the Mahalanobis score, and learns what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from offline_training.detectors.base import DetectorSpec, Frames, Watched, frame_only
from offline_training.detectors.held_out import Indices, split
from offline_training.detectors.layer_densities import LayerDensities
from offline_training.detectors.residual_couplings import ClassCouplings

EVALUATE_EVERY = 20
"""Training steps between two looks at the held-out likelihood."""
PATIENCE = 5
"""Looks without progress in any class after which training stops."""


class ResidualFlow(LayerDensities):
    """One residual flow per class and layer on pooled taps; whole frames only.

    The arguments that `LayerDensities` does not have:
        couplings: of every flow, two per permutation.
        hidden: width of their sub-networks; the original's is that of the features, 500 networks
            of up to 512 channels for CIFAR-100, far more than some hundred frames can fill.
        steps: most training steps per layer; classes that stop improving keep their best state.
        learning_rate: of Adam. The original's 1e-5 wants 2000 passes.
        flow_batch: vectors per class and step.
    """

    spec = DetectorSpec(
        name='residual_flow',
        paper='Zisselman and Tamar, Deep Residual Flow for Out of Distribution Detection, 2020',
        inputs='logits, taps',
        passes=1,
        gradients=False,
        exportable=True,
        levels=('frame',),
    )

    def __init__(
        self,
        taps: Sequence[str] | None = None,
        min_share: float = 0.005,
        cut: float = 1e-3,
        epsilon: float = 2.5,
        noise: float = 3.0,
        magnitudes: Sequence[float] = (0.0,),
        batch_size: int = 8,
        seed: int = 0,
        couplings: int = 10,
        hidden: int = 32,
        steps: int = 500,
        learning_rate: float = 1e-3,
        flow_batch: int = 64,
    ):
        super().__init__(
            taps, min_share, cut, epsilon, noise, magnitudes, batch_size, seed,
            couplings=couplings, hidden=hidden, steps=steps, learning_rate=learning_rate,
            flow_batch=flow_batch,
        )

    def _couplings(self, classes: int, dimensions: int) -> ClassCouplings:
        generator = torch.Generator().manual_seed(self.settings['seed'])
        return ClassCouplings(
            classes, dimensions, self.settings['couplings'], self.settings['hidden'], generator
        )

    def fit(self, watched: Watched, frames: Frames) -> Self:
        """Fit Gaussians and flows on three quarters of the frames, all else on the others.

        Raises:
            ValueError: too few frames.
            NotApplicableError: the network does not have one of the taps.
        """
        learned, held_out = split(len(frames.images))
        self._fit_gaussians(watched, frames, learned)
        train = self._whitened(watched, frames, learned)
        valid = self._whitened(watched, frames, held_out)
        for density, here, there in zip(self._layers(), train, valid, strict=True):
            assert density.couplings is not None
            train_couplings(
                density.couplings, here, there, self.settings['steps'],
                self.settings['learning_rate'], self.settings['flow_batch'],
                torch.Generator().manual_seed(self.settings['seed']),
            )
        self._calibrate(watched, frames, held_out)
        return self.requires_grad_(False)

    def score_map(self, watched: Watched, images: Tensor) -> Tensor:
        raise frame_only(self.spec)

    def _whitened(
        self, watched: Watched, frames: Frames, chosen: Indices
    ) -> list[tuple[Tensor, Tensor]]:
        """Return what the flows are trained on, by layer: `by_class` of whitened features.

        These vectors stay in memory, some kilobytes per frame.
        """
        parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.densities]
        for samples in self._samples(watched, frames, chosen):
            for part, density, (x, classes, _) in zip(
                parts, self._layers(), samples, strict=True
            ):
                part.append((density.gaussian.of_class(x, classes), classes))
        return [
            by_class(
                torch.cat([z for z, _ in part]), torch.cat([c for _, c in part]),
                len(density.center),
            )
            for part, density in zip(parts, self._layers(), strict=True)
        ]


def by_class(x: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sort vectors (N, D) of classes (N,) into (M, K, D), padded with zeros, and sizes (K,)."""
    sizes = torch.bincount(classes, minlength=count)
    order = classes.argsort(stable=True)
    first = sizes.cumsum(0) - sizes
    row = torch.arange(len(x), device=x.device) - first[classes[order]]
    table = x.new_zeros(int(sizes.max()), count, x.shape[1])
    table[row, classes[order]] = x[order]
    return table, sizes


def negative_log_likelihood(couplings: ClassCouplings, z: Tensor) -> Tensor:
    """Return -log p (N, K) of whitened vectors (N, K, D), in nats up to a constant."""
    z, log_det = couplings(z)
    return 0.5 * (z * z).sum(dim=-1) - log_det


def train_couplings(
    couplings: ClassCouplings,
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    steps: int,
    learning_rate: float,
    batch_size: int,
    generator: torch.Generator,
) -> Tensor:
    """Maximise the likelihood of `train`; every class keeps the state that is best on `valid`.

    Both are tables of `by_class`. A class without progress on its held-out vectors, or without any
    of them, stays the Gaussian. Returns the gain per class in nats per held-out vector, (K,).
    """
    table, sizes = train
    held_out, held_sizes = valid
    index = torch.arange(len(sizes), device=table.device)
    counted = torch.arange(len(held_out), device=table.device)[:, None] < held_sizes

    def held_out_loss() -> Tensor:
        with torch.no_grad():
            loss = negative_log_likelihood(couplings, held_out) * counted
        return loss.sum(dim=0) / held_sizes.clamp_min(1)

    first = held_out_loss()
    best, kept = first, [p.detach().clone() for p in couplings.parameters()]
    learning = (sizes > 0) & (held_sizes > 0)
    optimizer = torch.optim.Adam(couplings.parameters(), lr=learning_rate)
    waited = 0
    for step in range(1, steps + 1):
        draw = torch.rand(batch_size, len(sizes), generator=generator).to(table.device)
        row = (draw * sizes).long()
        loss = negative_log_likelihood(couplings, table[row, index]).mean(dim=0)
        optimizer.zero_grad()
        loss[learning].sum().backward()
        optimizer.step()
        if step % EVALUATE_EVERY and step < steps:
            continue
        now = held_out_loss()
        better = learning & (now < best)  # not where it diverged to NaN
        best = torch.where(better, now, best)
        with torch.no_grad():
            for old, new in zip(kept, couplings.parameters(), strict=True):
                old[better] = new[better]
        waited = 0 if better.any() else waited + 1
        if waited == PATIENCE:
            break
    with torch.no_grad():
        for old, new in zip(kept, couplings.parameters(), strict=True):
            new.copy_(old)
    return first - best
