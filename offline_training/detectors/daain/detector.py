"""DAAIN as a detector: one score per image from one pass of the watched network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.daain.classifiers import ClassifierKind, build_classifier
from offline_training.detectors.daain.flows import FlowKind, build_flow
from offline_training.detectors.daain.sampling_key import (
    Layers,
    SamplingKey,
    activation_shapes,
    draw_key,
)
from offline_training.detectors.daain.scorer import FlowHistory, SampleScorer
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.learning.session import QUIET, Session
from offline_training.learning.store import StorageError
from offline_training.watched.activations import Tap
from offline_training.watched.base import Seen, Watched

BATCH = 4
"""Images per pass while fitting."""
HIDDEN = {
    'glow_linear': 10,
    'gin_linear': 10,
    'glow_1x1': 256,
    'gin_1x1': 256,
    'conditional': 64,
}
"""Width of the coupling networks where the settings name none."""


class Daain(OnePassDetector):
    """Flow over a blue-noise sample of the activations, then a classifier on its output.

    Settings: `tap` and `layers` choose the activations (inputs or outputs of leaf modules; all,
    convolutions, batch normalisations); `points`, or `radius` in raw indices, the density of the
    sampling key; `flow`, `blocks`, `hidden` and `grid` (rows, columns; only for flows with
    convolutions) the flow; `classifier` the score; `epochs` the longest training; `seed` the key,
    the permutations and the training: it is the secret, so choose one of your own.

    What goes into batch normalisations is nearly Gaussian; what comes out of rectifiers is cut off
    at zero, which no affine flow undoes. A network without any needs other `layers`.

    Every choice can be exported: the watched network then gives the activations, and sampling
    becomes one Gather per layer. Convolutions over a grid
    cost more than the linear flows. Whole frames only, as there is no map of a sparse sample.

    Raises:
        ValueError: a setting has a value that does not exist.
    """

    name = 'daain'
    paper = (
        'von Baussnern, Otterbach, Loy, Salzmann, Wollmann: DAAIN: Detection of Anomalous '
        'and Adversarial Input using Normalizing Flows, 2021'
    )
    inputs = 'taps'

    def __init__(
        self,
        tap: Tap = 'pre',
        layers: Layers = 'batch_norm',
        points: int = 1000,
        radius: float | None = None,
        flow: FlowKind = 'glow_linear',
        blocks: int = 16,
        hidden: int | None = None,
        grid: Sequence[int] = (4, 4),
        classifier: ClassifierKind = 'hbos',
        epochs: int = 300,
        seed: int = 42,
    ):
        super().__init__(
            tap=tap,
            layers=layers,
            points=points,
            radius=radius,
            flow=flow,
            blocks=blocks,
            hidden=hidden,
            grid=list(grid),
            classifier=classifier,
            epochs=epochs,
            seed=seed,
        )
        for setting, kinds in (
            ('tap', Tap),
            ('layers', Layers),
            ('flow', FlowKind),
            ('classifier', ClassifierKind),
        ):
            if self.settings[setting] not in get_args(kinds):
                raise ValueError(
                    f'daain: {setting} is {self.settings[setting]!r}; '
                    f'choose {", ".join(get_args(kinds))}'
                )
        for setting, least in (('points', 2), ('blocks', 1), ('hidden', 1), ('epochs', 1)):
            value = self.settings[setting]
            if value is not None and not value >= least:
                raise ValueError(f'daain: {setting} is {value}; give {least} or more')
        if len(grid) != 2 or min(grid) < 1:
            raise ValueError(f'daain: grid is {list(grid)}; give rows and columns')
        self.key: SamplingKey | None = None
        self.scorer: SampleScorer | None = None
        self.history: FlowHistory | None = None
        """Losses of the training, and the divergence from a Gaussian; not saved."""

    def _build(self, key: SamplingKey) -> SampleScorer:
        kind: FlowKind = self.settings['flow']
        depth, rows, columns = key.arrangement.shape
        hidden = self.settings['hidden'] or HIDDEN[kind]
        flow = build_flow(
            kind, (depth, rows, columns), self.settings['blocks'], hidden, self.settings['seed']
        )
        classifier = build_classifier(self.settings['classifier'], flow.dimensions)
        return SampleScorer(len(key), key.arrangement, flow, classifier)

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Draw the sampling key, record the normal frames and train flow and classifier."""
        device = watched.device
        first = torch.from_numpy(frames.images[0])[None].to(device)
        settings = self.settings
        tap, layers = settings['tap'], settings['layers']
        with torch.no_grad():
            shapes = activation_shapes(watched.network, lambda: watched(first), tap, layers)
            key = draw_key(
                shapes,
                (first.shape[1], first.shape[2]),
                tap=tap,
                layers=layers,
                seed=settings['seed'],
                radius=settings['radius'],
                points=settings['points'],
                grid=None if settings['flow'].endswith('linear') else tuple(settings['grid']),
            ).to(device)
            samples = torch.cat(
                [
                    key.sample(watched.look(images, key.activations))
                    for images, _ in frames.batches(BATCH, device)
                ]
            )
        self.key = key
        self.scorer = self._build(key).to(device)
        self.history = self.scorer.fit(
            samples, list(key.parts.values()), settings['epochs'], settings['seed'], session
        )
        return self

    @property
    def fitted(self) -> bool:
        return self.key is not None

    def activations(self, watched: Watched, images: Tensor) -> Sequence[str]:
        assert self.key is not None
        return self.key.activations

    def frame_of(self, watched: Watched, seen: Seen) -> Tensor:
        assert self.key is not None
        assert self.scorer is not None
        return self.scorer(self.key.sample(seen))

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take over saved tensors; key and flow get their sizes from them."""
        saved = {
            name.removeprefix('key.'): tensor
            for name, tensor in tensors.items()
            if name.startswith('key.')
        }
        if not saved:
            raise StorageError('the file holds a daain that was never fitted; fit and save again')
        self.key = SamplingKey.restore(saved)
        self.scorer = self._build(self.key)
        super().adopt(tensors)
        self.requires_grad_(False)
