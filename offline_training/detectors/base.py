"""The contract of every detector of unknown things: fit on normal driving, score what comes.

One sign everywhere: a higher score is more anomalous. A detector looks at a frozen `Watched`
network and never changes it. What it learnt lives in buffers and parameters, so that saving and
loading need no pickle and moving it to a GPU is `.to(device)`.
"""

from __future__ import annotations

import json
from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.learning.session import QUIET, Session
from offline_training.learning.store import StorageError, read_tensors, write_tensors
from offline_training.watched.base import Watched

Level = Literal['pixel', 'frame']
TOP_SHARE = 0.01
"""Share of the highest pixels whose mean is a frame's score, where a detector has only maps."""


@dataclass(frozen=True)
class DetectorSpec:
    """What a detector is, needs and costs; the columns of the comparison table."""

    name: str
    paper: str
    inputs: str
    passes: int
    gradients: bool
    exportable: bool
    levels: tuple[Level, ...]
    """`pixel` if it has maps, `frame` if it scores whole frames."""


class NotApplicableError(ValueError):
    """The watched network lacks what a detector needs; the message says what."""


class Detector(nn.Module, ABC):
    """Base of all detectors; subclasses state their facts and give `score_map` or `score_frame`.

    `settings` are the keyword arguments of the constructor, plain JSON values: with them and the
    tensors a saved detector is built again. Example:

        detector = MaxLogit().fit(watched, normal_frames)
        detector.score_map(watched, images)      # (B, H, W), higher = more anomalous
        detector.save(Path('max_logit.safetensors'))
    """

    name: ClassVar[str]
    """Key in tables and files: lower case, underscores."""
    paper: ClassVar[str]
    """Authors, title, year."""
    inputs: ClassVar[str]
    """What it reads: `logits`, `taps`, `image`, several joined by ', '."""

    def __init__(self, **settings: Any):
        super().__init__()
        self.settings = settings

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Learn from normal driving and return self; nothing to learn unless overridden.

        `session` says how a training runs, not what it learns.
        """
        return self

    @property
    def passes(self) -> int:
        """Forward passes of the watched network per frame, including its own segmentation."""
        return 1

    @property
    def gradients(self) -> bool:
        """Whether a frame needs a backward pass: then it cannot run in an engine."""
        return False

    @property
    def exportable(self) -> bool:
        """Whether `export` writes it as a network that engines run."""
        return False

    @property
    def has_map(self) -> bool:
        """Whether `score_map` scores pixels; otherwise it raises TypeError."""
        return type(self).score_map is not Detector.score_map

    @property
    def has_frame_score(self) -> bool:
        """Whether frames have a score of their own and not the highest pixels of the map."""
        return type(self).score_frame is not Detector.score_frame

    @property
    def shares_features(self) -> bool:
        """Whether one undisturbed pass gives all it looks at, so that others may share it."""
        return False

    @property
    def spec(self) -> DetectorSpec:
        """The detector as it is now set, for tables."""
        return DetectorSpec(
            self.name,
            self.paper,
            self.inputs,
            self.passes,
            self.gradients,
            self.exportable,
            ('pixel', 'frame') if self.has_map else ('frame',),
        )

    def score_map(self, watched: Watched, images: Tensor) -> Tensor:
        """Return one score per pixel, float32 (B, H', W') with H' and W' of the detector's choice.

        Raises:
            TypeError: the detector scores whole frames only (`has_map`).
        """
        raise TypeError(f'{self.name} scores whole frames and has no map; use score_frame')

    def score_frame(self, watched: Watched, images: Tensor) -> Tensor:
        """Return one score per image (B,): the mean of the highest `TOP_SHARE` of its map."""
        return top_mean(self.score_map(watched, images))

    def save(self, path: Path) -> None:
        """Write tensors and settings to a safetensors file, atomically."""
        settings = json.dumps({'detector': self.name, 'settings': self.settings})
        header = torch.frombuffer(bytearray(settings.encode()), dtype=torch.uint8)
        write_tensors(path, {**self.state_dict(), HEADER: header})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises StorageError for another detector's or a damaged file."""
        tensors = read_tensors(path)
        header = tensors.pop(HEADER, None)
        if header is None:
            raise StorageError(f'{path} holds no detector; fit and save one')
        try:
            stored = json.loads(bytes(header.tolist()))
            name, settings = stored['detector'], stored['settings']
        except (ValueError, KeyError, TypeError):
            raise StorageError(
                f'{path} has a damaged header; fit and save the detector again'
            ) from None
        if name != cls.name:
            raise StorageError(
                f'{path} holds the detector {name!r}, not {cls.name!r}; load it with that one'
            )
        try:
            detector = cls(**settings)
            detector.adopt(tensors)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise StorageError(
                f'{path} does not fit this version of {name!r} ({error}); fit and save it again'
            ) from error
        return detector.eval()

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take over saved tensors; buffers that were empty before `fit` take the saved shape."""
        for child_name, child in self.named_children():
            if isinstance(child, Detector):
                prefix = f'{child_name}.'
                child.adopt(
                    {
                        name.removeprefix(prefix): tensor
                        for name, tensor in tensors.items()
                        if name.startswith(prefix)
                    }
                )
        for name, tensor in tensors.items():
            owner_name, _, leaf = name.rpartition('.')
            owner = self.get_submodule(owner_name)
            if leaf in owner._buffers:
                owner._buffers[leaf] = tensor.clone()
        self.load_state_dict(tensors)


def top_mean(score_map: Tensor) -> Tensor:
    """Return the mean (B,) of the highest `TOP_SHARE` of the pixels of maps (B, H, W)."""
    flat = score_map.flatten(1)
    count = max(1, round(TOP_SHARE * flat.shape[1]))
    return flat.topk(count, dim=1).values.mean(dim=1)


HEADER = '__detector__'
"""Key of the JSON header among the tensors."""
