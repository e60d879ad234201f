"""The results of a comparison, as values and as JSON.

Measures, AP and IoU are shares in 0..1, times are milliseconds unless a name says seconds. None is
"not measured"; NaN and infinity are never stored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct, ValidationError, convert, field, to_builtins

from offline_training.learning.store import StorageError

Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
Level = Literal['pixel', 'frame']
Kind = TypeVar('Kind', bound='Record')


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """A value with an exact JSON form: no unknown key is read, a missing one has a default."""

    def to_json(self) -> dict[str, Any]:
        """Return lists, mappings, text and numbers for `write_json`."""
        values: dict[str, Any] = to_builtins(self)
        return values

    @classmethod
    def from_json(cls: type[Kind], value: Any, source: object) -> Kind:
        """Return what `to_json` returned; raises StorageError naming `source` and the key."""
        try:
            return convert(value, cls)
        except ValidationError as error:
            raise StorageError(
                f'{source} does not hold a {cls.__name__} ({error}); delete it and rerun'
            ) from None


class Histogram(Record, frozen=True):
    """Shares of the normal and of the anomalous samples per bin; N + 1 edges, rising."""

    edges: tuple[float, ...]
    normal: tuple[Share, ...]
    anomalous: tuple[Share, ...]


class Reliability(Record, frozen=True):
    """Accuracy and number of samples per bin of confidence; None = an empty bin."""

    confidence: tuple[Share | None, ...]
    accuracy: tuple[Share | None, ...]
    samples: tuple[int, ...]


class Curves(Record, frozen=True):
    """What is drawn of one detector on one set; an anomaly is the positive class."""

    roc: tuple[tuple[Share, Share], ...]
    """(FPR, TPR)."""
    pr: tuple[tuple[Share, Share], ...]
    """(recall, precision)."""
    histogram: Histogram
    reliability: Reliability | None = None


Interval = tuple[Share | None, Share | None]
"""Low and high end."""


class Measurement(Record, frozen=True):
    """What was measured of one detector on one set."""

    measures: dict[str, Share | None]
    """Names as in `DetectionCurve.measures`.

    Of frames also `called` and `called_normal`, the shares of anomalous and of normal frames that
    a threshold from validation frames calls anomalous.
    """
    intervals: dict[str, Interval]
    flipped: bool
    """The score surely ranks normal samples above anomalies."""
    calibration: dict[str, Share | None] | None
    """`ece` and `ace`, where scores could be turned into probabilities of an error."""
    components: dict[str, Share | None] | None
    """`siou`, `ppv` and `f1`, where objects were labelled."""
    curves: Curves
    frame_ap: tuple[Share | None, ...] = ()
    """Average precision per image, pixel level only; None = one kind of pixel alone."""


class Result(Record, frozen=True):
    """A row of the table: what was measured, without what is drawn."""

    detector: str
    set_name: str = field(name='set')
    measures: dict[str, Share | None]
    intervals: dict[str, Interval]
    calibration: dict[str, Share | None] | None
    components: dict[str, Share | None] | None
    flipped: bool


class NetworkFacts(Record, frozen=True):
    """The network under watch; `size` is (width, height), `ms` its time per image alone."""

    architecture: str
    weights: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    ms: Amount | None
    device: str


class DetectorFacts(Record, frozen=True):
    """What a detector is, needs and costs; `ms` per image includes the watched network."""

    name: str
    paper: str
    inputs: str
    passes: int
    gradients: bool
    exportable: bool
    levels: tuple[Level, ...]
    ms: Amount | None
    fit_seconds: Amount | None
    skipped: str | None
    """Why it could not be used."""


class SetFacts(Record, frozen=True):
    """A set, and how scores on it are measured."""

    name: str
    title: str
    level: Level
    group: str
    """The sets of a group share a heading and a mean."""
    protocol: str
    frames: int
    normal_frames: int
    """Frames from another set that `frames` are told from; 0 = none."""


class Iou(Record, frozen=True):
    """IoU of the watched network, void counted as false positive (as in the ESPNet paper)."""

    miou: Share | None
    iou: dict[str, Share | None]
    """By class; None = the class is nowhere."""


class Segmentation(Record, frozen=True):
    """IoU on a source, and `clean`: on the same frames before they were disturbed."""

    name: str
    miou: Share | None
    iou: dict[str, Share | None]
    psnr: Amount | None
    """Mean over the frames in dB."""
    clean: Iou | None


class Comparison(Record, frozen=True):
    """A finished comparison; `to_json` is what table.json holds."""

    title: str
    created: str
    version: str
    network: NetworkFacts
    detectors: tuple[DetectorFacts, ...]
    sets: tuple[SetFacts, ...]
    results: tuple[Result, ...]
    segmentation: tuple[Segmentation, ...]
