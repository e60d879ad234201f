"""What Mahalanobis and Residual Flow share: pooled layers, their densities, one frame score."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from offline_training.attacks.gradient_sign import channels_first, fgsm
from offline_training.data.frames import Frames
from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.layer_density.class_density import (
    ClassDensity,
    Pooled,
    class_means,
    frame_means,
)
from offline_training.detectors.layer_density.held_out import Indices, thinned
from offline_training.detectors.layer_density.layer_combination import LayerCombination, separation
from offline_training.detectors.layer_density.residual_couplings import ClassCouplings
from offline_training.detectors.layer_density.tied_gaussian import ClassMoments, TiedGaussian
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.watched.base import Seen, Watched

Weighing = Literal['regression', 'mean']
PART = 256
"""Vectors whose densities are computed together."""
VALIDATION_FRAMES = 48
"""Held-out frames, evenly spread, that are attacked to fit the few weights of the combination."""


class Vectors(NamedTuple):
    """Features of many frames at one layer."""

    values: Tensor
    """(N, C)."""
    classes: Tensor
    """Int64 (N,)."""
    num_classes: int
    """Classes there can be."""


class LayerDensities(OnePassDetector):
    """Frame score from class-conditional densities of pooled taps.

    Classifiers: every tap is averaged over the frame and scored by its most likely class, as in
    the papers. Segmentation networks: every tap gives two layers. One has the averages over each
    predicted class, each scored as that class. The other is the average over the frame: a class
    alone with its own covariance, because it varies far less than the others.
    A logistic regression weighs the layers (`LayerCombination`), or all count the same.

    Args:
        taps: names of the taps; None takes all of them.
        min_share: share of the frame below which a class counts as absent.
        whole_frame: whether the average over the frame is a layer, too (segmentation only).
        weighing: `regression`, or `mean` of the layers, which presumes nothing about anomalies.
        cut: directions with less than this share of the largest standard deviation are left out.
        epsilon: FGSM step of the attacked frames in grey levels (Lee et al.: .05 of a normalised
            unit).
        noise: standard deviation of the noisy frames in grey levels (.0625 there).
        magnitudes: steps of the input pre-processing in grey levels, of which `fit` leaves only
            the best in `settings`; above 0, scoring costs a backward and a forward pass per layer.
        batch_size: frames per forward pass in `fit`.
        seed: of all randomness.
    """

    def __init__(
        self,
        taps: Sequence[str] | None,
        min_share: float,
        whole_frame: bool,
        weighing: Weighing,
        cut: float,
        epsilon: float,
        noise: float,
        magnitudes: Sequence[float],
        batch_size: int,
        seed: int,
        **others: Any,
    ):
        if weighing not in get_args(Weighing):
            raise ValueError(
                f'{self.name} has weighing {weighing!r}; choose one of '
                f'{", ".join(get_args(Weighing))}'
            )
        super().__init__(
            taps=None if taps is None else list(taps),
            min_share=min_share,
            whole_frame=whole_frame,
            weighing=weighing,
            cut=cut,
            epsilon=epsilon,
            noise=noise,
            magnitudes=list(magnitudes),
            batch_size=batch_size,
            seed=seed,
            **others,
        )
        if not magnitudes or not all(0 <= each < math.inf for each in magnitudes):
            raise ValueError(
                f'{self.name} has magnitudes {list(magnitudes)}; give one or more, each 0 or above'
            )
        self.offered = tuple(magnitudes)
        """What `fit` chooses from, however often."""
        self.densities = nn.ModuleList()
        self.combination = LayerCombination()

    @property
    def fitted(self) -> bool:
        return len(self.densities) > 0

    @property
    def gradients(self) -> bool:
        return bool(self.settings['magnitudes'][0] > 0)

    @property
    def exportable(self) -> bool:
        return not self.gradients

    @property
    def shares_features(self) -> bool:
        return not self.gradients

    @property
    def passes(self) -> int:
        return 1 + len(self.densities) if self.gradients else 1

    @abstractmethod
    def _couplings(self, classes: int, dimensions: int) -> ClassCouplings | None:
        """Return what refines a Gaussian of so many classes and dimensions, untrained."""

    # Scoring

    def chosen(self, seen: Seen) -> list[Tensor]:
        """Return the taps that are looked at, in order."""
        names = self.settings['taps'] or list(seen.taps)
        if unknown := [name for name in names if name not in seen]:
            raise NotApplicableError(
                f'the network has no tap {unknown[0]!r} but {", ".join(seen.taps)}; correct the '
                f'taps of {self.name}'
            )
        return [seen[name] for name in names]

    def pool(self, seen: Seen, num_classes: int) -> list[Pooled]:
        """Return the features of all layers, tap by tap."""
        chosen, labels = self.chosen(seen), seen['labels']
        if labels.dim() == 1:
            return [frame_means(tap, class_known=False) for tap in chosen]
        layers = []
        for tap in chosen:
            layers.append(class_means(tap, labels, num_classes, self.settings['min_share']))
            if self.settings['whole_frame']:
                layers.append(frame_means(tap, class_known=True))
        return layers

    def forward(self, seen: Seen) -> Tensor:
        """Return the scores of all layers (B, L)."""
        layers = self.pool(seen, len(self._layers()[0].center))
        scores = [density(x) for density, x in zip(self._layers(), layers, strict=True)]
        return torch.stack(scores, dim=1)

    def _layers(self) -> list[ClassDensity]:
        return [density for density in self.densities if isinstance(density, ClassDensity)]

    def layer_scores(self, watched: Watched, images: Tensor) -> Tensor:
        """Return the scores of all layers (B, L), after input pre-processing if it was chosen.

        Pre-processing takes one step per layer that lowers the layer's score, and scores again:
        normal frames get more normal by it than others (Liang et al., ODIN, 2018; in grey levels
        the step is the same for all channels).
        """
        magnitude = self.settings['magnitudes'][0]
        if magnitude == 0:
            with torch.no_grad():
                return self(watched.look(images))
        columns = []
        with torch.inference_mode(False), torch.enable_grad():
            start = images.clone().float().requires_grad_(True)
            scores = self(watched.look(start))
            for layer in range(scores.shape[1]):
                (gradient,) = torch.autograd.grad(scores[:, layer].sum(), start, retain_graph=True)
                moved = (start.detach() - magnitude * gradient.sign()).clamp(0, 255)
                with torch.no_grad():
                    columns.append(self(watched.look(moved))[:, layer])
        return torch.stack(columns, dim=1)

    def frame_of(self, watched: Watched, seen: Seen) -> Tensor:
        return self.combination(self(seen))

    def score_frame(self, watched: Watched, images: Tensor) -> Tensor:
        """Return the log odds (B,) that a frame is not normal driving."""
        if not self.gradients:
            return super().score_frame(watched, images)
        return self.combination(self.layer_scores(watched, images))

    # Fitting

    def _collect(self, watched: Watched, frames: Frames, chosen: Indices) -> list[Vectors]:
        """Return the features of the chosen frames by layer, some ten kilobytes per frame.

        Segmented frames are pooled by prediction, as they will be when scored.
        """
        batches: list[list[Vectors]] = []
        size = self.settings['batch_size']
        for images, labels in frames.subset(chosen).batches(size, watched.device):
            with torch.no_grad():
                layers = self.pool(watched.look(images), watched.num_classes)
            vectors = []
            for values, present in layers:
                if present is None:
                    known = labels < watched.num_classes
                    vectors.append(Vectors(values[known, 0], labels[known], watched.num_classes))
                else:
                    classes = present.nonzero()[:, 1]
                    vectors.append(Vectors(values[present], classes, present.shape[1]))
            batches.append(vectors)
        return [
            Vectors(
                torch.cat([part.values for part in parts]),
                torch.cat([part.classes for part in parts]),
                parts[0].num_classes,
            )
            for parts in zip(*batches, strict=True)
        ]

    def _fit_gaussians(self, layers: Sequence[Vectors]) -> None:
        """Set the densities of all layers to Gaussians, with untrained couplings."""
        self.to(layers[0].values.device)
        self.densities = nn.ModuleList()
        for values, classes, count in layers:
            moments = ClassMoments(count, values.shape[1], values.device)
            moments.update(values, classes)
            gaussian = TiedGaussian.of(moments, self.settings['cut'])
            couplings = self._couplings(count, len(gaussian.whitening))
            self.densities.append(ClassDensity(gaussian, couplings).to(values.device))

    def _calibrate(
        self, watched: Watched, frames: Frames, chosen: Indices, layers: Sequence[Vectors]
    ) -> None:
        """Standardise the classes, choose the magnitude and fit the combination.

        `layers` are the features of the chosen frames.
        """
        for density, (values, classes, count) in zip(self._layers(), layers, strict=True):
            if not len(values):
                raise ValueError(
                    f'{self.name} found no class in the held-out frames, the first quarter; '
                    'add labelled frames'
                )
            own = []
            with torch.no_grad():
                # In parts: every density of every vector at once may be gigabytes.
                for part, labels in zip(values.split(PART), classes.split(PART), strict=True):
                    log_prob = density.log_prob(part[:, None].expand(-1, count, -1))
                    own.append(log_prob.gather(1, labels[:, None])[:, 0])
            density.standardise(torch.cat(own), classes)

        mean = self.settings['weighing'] == 'mean'
        magnitudes = self.offered
        found = []
        if len(magnitudes) > 1 or not mean:
            for magnitude in magnitudes:
                self.settings['magnitudes'] = [magnitude]
                normal, attacked = self._validation_scores(watched, frames, chosen)
                quality = separation(normal, attacked) if len(magnitudes) > 1 else 0.0
                found.append((quality, magnitude, normal, attacked))
            _, magnitude, normal, attacked = max(found, key=lambda entry: entry[0])
            self.settings['magnitudes'] = [magnitude]
        if mean:
            self.combination.take_mean(len(self.densities), watched.device)
        else:
            self.combination.fit(normal.flatten(0, 1), attacked)

    def _validation_scores(
        self, watched: Watched, frames: Frames, chosen: Indices
    ) -> tuple[Tensor, Tensor]:
        """Return layer scores of clean and noisy (N, 2, L) and of attacked frames (N, L)."""
        generator = torch.Generator().manual_seed(self.settings['seed'])
        device = watched.device
        normal, attacked = [], []
        attack = thinned(chosen, VALIDATION_FRAMES)
        for images, _ in frames.subset(attack).batches(self.settings['batch_size'], device):
            noise = torch.randn(images.shape, generator=generator).to(device)
            noisy = (images + self.settings['noise'] * noise).clamp(0, 255)
            clean = self.layer_scores(watched, images)
            normal.append(torch.stack([clean, self.layer_scores(watched, noisy)], dim=1))
            stepped = against_prediction(watched, images, self.settings['epsilon'])
            attacked.append(self.layer_scores(watched, stepped))
        return torch.cat(normal), torch.cat(attacked)

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take over saved tensors, with as many layers as were fitted."""
        while f'densities.{len(self.densities)}.center' in tensors:
            name = f'densities.{len(self.densities)}.gaussian'
            classes, dimensions = len(tensors[f'{name}.seen']), len(tensors[f'{name}.whitening'])
            self.densities.append(
                ClassDensity(TiedGaussian(), self._couplings(classes, dimensions))
            )
        super().adopt(tensors)


def against_prediction(watched: Watched, images: Tensor, epsilon: float) -> Tensor:
    """Take one FGSM step of `epsilon` grey levels away from the prediction: float32 (B, H, W, 3).

    Not from the label: that would be needed then, and it leaks into a single step (Kurakin et al.,
    "Adversarial Machine Learning at Scale", 2017, section 4.4).
    """
    segment = channels_first(watched)
    pixels = images.float().permute(0, 3, 1, 2)
    with torch.no_grad():
        predicted = segment(pixels).argmax(dim=1)
    return fgsm(segment, pixels, predicted, epsilon).permute(0, 2, 3, 1)
