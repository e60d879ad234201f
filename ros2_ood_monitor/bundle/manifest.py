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
UNKNOWN_VIEW, UNUSUAL_IMAGE = CAUSES = ('unknown_view', 'unusual_image')
"""What an alarm of a channel may mean: something unknown in view, or an image unlike those of the
calibration, on which the channel `object` is not to be trusted."""
LEAST_SEQUENCES = 5
"""Fewer calibration sequences certify nothing: parts of one recording are not exchangeable."""
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
class SecondLook:
    """Operating points of regions in an enlarged part of an image (`inference.second_look`)."""

    threshold: float
    sensitive_threshold: float


@dataclass(frozen=True)
class Regions:
    """When connected pixels are a region: probability thresholds, least area in map pixels."""

    threshold: float
    """The strict operating point: published regions, and ALERT where they persist."""
    min_area: int
    sensitive_threshold: float | None = None
    """The sensitive one, for CAUTION; None where a bundle has one operating point only."""
    second_look: SecondLook | None = None
    """Those of a second look; None where a bundle has not been calibrated for one."""


@dataclass(frozen=True)
class FrameScore:
    """Frame statistic (mean of the top fraction of the fused logits) and its normal sample."""

    top_fraction: float
    reference: tuple[float, ...]
    """Ascending statistics of normal frames."""


@dataclass(frozen=True)
class Statistic:
    """One number about the whole image, higher = more unusual after `sign`, and normal values.

    It is `sign` times number `index` of the network output `tensor`, float32 (1, K) or (1,), or,
    where `tensor` is None, `sign` times the frame statistic of the channel `object`: an image that
    is too normal is unusual too.
    """

    name: str
    tensor: str | None
    index: int
    sign: float
    """1 or -1."""
    reference: tuple[float, ...]
    """Ascending values (`sign` included) of normal frames."""


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
    rate that the calibration sequences could certify, None if they could not certify any.
    """

    budget_per_hour: float
    certified_per_hour: float | None
    frame_rate: float
    sequences: int | None
    """Number of normal calibration sequences; None in a bundle of schema 1, which does not say."""
    hours: float | None
    """Their length together; None in a bundle of schema 1."""

    @property
    def certified(self) -> bool:
        """True if a rate is stated and rests on enough sequences; blocks of one are not enough."""
        return (
            self.certified_per_hour is not None
            and self.sequences is not None
            and self.sequences >= LEAST_SEQUENCES
        )


@dataclass(frozen=True)
class Channel:
    """One question about every frame: what it reads, its alarm rules and what they certify.

    Its score is the highest conformal score of its frame score and its statistics. Only the
    channel `object` has `regions`. `fusion` and `frame_score` are both None in a channel that
    reads statistics only.
    """

    fusion: Fusion | None
    regions: Regions | None
    frame_score: FrameScore | None
    alarms: tuple[Alarm, ...]
    """Each alone raises the cause; normally a fast and a slow one."""
    certificate: Certificate
    statistics: tuple[Statistic, ...] = ()
    cause: str = UNKNOWN_VIEW
    """Code of the cause that the alarms raise, one of `CAUSES`."""


@dataclass(frozen=True)
class SelfTest:
    """A stored frame and its raw statistics, which every engine must reproduce."""

    path: Path
    """In a manifest relative to the bundle's directory."""
    sha256: str
    statistics: Mapping[str, float]
    """By the names of `statistic_names`."""
    alarming: bool
    """True if the frame shows an anomaly."""


@dataclass(frozen=True)
class CannotSee:
    """One row of the table of what a bundle sees and what not; None where it does not apply."""

    kind: str
    """For example perturbation, object or normal."""
    what: str
    severity_or_distance: float | None
    """Severity from 0 to 1, or metres."""
    seen_share: float | None
    """Share, 0 to 1, of the trials that left NOMINAL within 2 s."""
    delay_s: float | None
    """Median time until they did."""
    false_alarms: float | None


@dataclass(frozen=True)
class Manifest:
    """All of `manifest.json`, checked; `networks` run in their order, backbone first.

    `width` and `height` are the network input size in pixels. `void_label` is the class that is
    published as unlabeled. `normalization` (mean and std in grey levels, 0 to 255) is folded into
    the backbone's graph and only informs. `atol` and `rtol` bound how far engines may differ on
    fused logits, and on statistics in standard deviations of their reference. A network that
    `expects_color` must not be shown a grey image.
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
    expects_color: bool = True
    cannot_see: tuple[CannotSee, ...] = ()

    @property
    def certified(self) -> bool:
        """True if the false-alarm rate of every channel is certified."""
        return all(channel.certificate.certified for channel in self.channels.values())

    @property
    def regions(self) -> Regions:
        """When connected pixels of the anomaly map are a region."""
        regions = self.channels[DEFAULT_CHANNEL].regions
        assert regions is not None  # the reader refuses such a manifest
        return regions

    def needed_maps(self, all_maps: bool = False) -> tuple[FusedMap, ...]:
        """Return the maps that some channel gives a weight, or with `all_maps` all, each once."""
        fusions = [each.fusion for each in self.channels.values() if each.fusion is not None]
        maps = [each for fusion in fusions for each in fusion.maps]
        return tuple({each.name: each for each in maps if each.weight != 0 or all_maps}.values())

    def needed_outputs(self, all_maps: bool = False) -> list[str]:
        """Return the network outputs that hold labels, `needed_maps` and statistics."""
        statistics = [each for channel in self.channels.values() for each in channel.statistics]
        tensors = [each.tensor for each in self.needed_maps(all_maps)]
        tensors += [each.tensor for each in statistics if each.tensor is not None]
        return ['labels', *dict.fromkeys(tensors)]


def statistic_names(name: str, channel: Channel) -> list[str]:
    """Return what the raw statistics of a channel are called in a self-test and a detection.

    The frame statistic has the channel's name, the others are `channel.statistic`.
    """
    own = [name] if channel.frame_score is not None else []
    return own + [f'{name}.{each.name}' for each in channel.statistics]
