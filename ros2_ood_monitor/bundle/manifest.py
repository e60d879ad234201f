"""What `manifest.json` of a model bundle says, as data classes (schema 2).

`dataclasses.asdict` of a `Channel` is its JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 2
DEFAULT_CHANNEL = 'object'
"""The channel that every bundle has; the anomaly map and the regions are its."""
MAP_STRIDE = 4
"""Anomaly maps are computed at a quarter of the network input size."""


class BundleError(ValueError):
    """A model bundle that must not be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a network; batch is always 1 and shapes are fixed."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Network:
    """An ONNX file with its named inputs and outputs."""

    path: Path
    """In a manifest relative to the bundle's directory."""
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class SemanticClass:
    """A class the backbone was trained on; `color` is RGB, 0 to 255."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class FusedMap:
    """One anomaly map of a fusion: where it is read, how it is standardised and weighted."""

    name: str
    tensor: str
    """Network output, float32 (1, C, H/4, W/4)."""
    channel: int
    """Index into the C planes of `tensor`."""
    mean: float
    std: float
    weight: float


@dataclass(frozen=True)
class Fusion:
    """Logistic fusion: logit = bias + sum of weight * clip((map - mean) / std, -10, 10)."""

    maps: tuple[FusedMap, ...]
    bias: float


@dataclass(frozen=True)
class Regions:
    """When connected pixels are a region: probability threshold, least area in map pixels."""

    threshold: float
    min_area: int


@dataclass(frozen=True)
class FrameScore:
    """Frame statistic (mean of the top fraction of the fused logits) and its normal sample."""

    top_fraction: float
    reference: tuple[float, ...]
    """Ascending statistics of normal frames."""


@dataclass(frozen=True)
class Alarm:
    """CUSUM rule: S = max(0, S + min(score - drift, threshold / 3)), alarm at S >= threshold.

    The cap on a step makes three frames the fewest that raise the alarm.
    """

    drift: float
    threshold: float
    kind: str = 'cusum'


@dataclass(frozen=True)
class Certificate:
    """What calibration certifies about the alarms of a channel, and on how much normal driving.

    `budget_per_hour` false alarms were asked for at `frame_rate` Hz, `certified_per_hour` is the
    rate that the calibration sequences could certify.
    """

    budget_per_hour: float
    certified_per_hour: float
    frame_rate: float
    sequences: int | None
    """Number of normal calibration sequences; None in a bundle of schema 1, which does not say."""
    hours: float | None
    """Their length together; None in a bundle of schema 1."""


@dataclass(frozen=True)
class Channel:
    """One question about every frame: its maps, its score, its alarm rules and what they certify.

    Only the channel `object` has `regions`.
    """

    fusion: Fusion
    regions: Regions | None
    frame_score: FrameScore
    alarms: tuple[Alarm, ...]
    certificate: Certificate


@dataclass(frozen=True)
class SelfTest:
    """A stored frame and the frame statistic per channel that every engine must reproduce."""

    path: Path
    """In a manifest relative to the bundle's directory."""
    sha256: str
    statistics: Mapping[str, float]
    alarming: bool
    """True if the frame shows an anomaly."""


@dataclass(frozen=True)
class Manifest:
    """All of `manifest.json`, checked; `networks` run in their order, backbone first.

    `width` and `height` are the network input size in pixels. `void_label` is the class that is
    published as unlabeled. `normalization` (mean and std in grey levels, 0 to 255) is folded into
    the backbone's graph and only informs. `atol` and `rtol` bound how far engines may differ on
    fused logits.
    """

    name: str
    width: int
    height: int
    color_order: str
    normalization: Mapping[str, tuple[float, ...]]
    classes: tuple[SemanticClass, ...]
    void_label: int | None
    backbone: Mapping[str, Any]
    networks: Mapping[str, Network]
    channels: Mapping[str, Channel]
    atol: float
    rtol: float
    selftest: tuple[SelfTest, ...]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def regions(self) -> Regions:
        """When connected pixels of the anomaly map are a region."""
        regions = self.channels[DEFAULT_CHANNEL].regions
        assert regions is not None  # the reader refuses such a manifest
        return regions

    def needed_maps(self, all_maps: bool = False) -> tuple[FusedMap, ...]:
        """Return the maps that some channel gives a weight, or with `all_maps` all, each once."""
        maps = [each for channel in self.channels.values() for each in channel.fusion.maps]
        return tuple({each.name: each for each in maps if each.weight != 0 or all_maps}.values())

    def needed_outputs(self, all_maps: bool = False) -> list[str]:
        """Return the network outputs that hold the labels and the `needed_maps`."""
        return ['labels', *dict.fromkeys(each.tensor for each in self.needed_maps(all_maps))]
