"""From detections and alerts to ROS messages, and from alert messages back to alerts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from ros2_ood_monitor.alert import SCHEMA, Alert, Cause, State
from ros2_ood_monitor.bundle.certification import CALIBRATIONS
from ros2_ood_monitor.detection import UNLABELED, Detection, Region
from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp, UInt8Array
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.types import (
    Bool,
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    DiagnosticArray,
    DiagnosticStatus,
    Float32,
    KeyValue,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
    VisionClass,
)
from ros2_ood_monitor.printable import printable
from ros2_ood_monitor.supervision.statistics import PERCENTILES, Statistics

NODE = 'ood_monitor'
_OK, _WARN, _ERROR = 0, 1, 2
LONGEST_VALUE = 100_000
"""Characters of a value: `causes` is JSON that must stay whole."""


class AlertFormatError(ValueError):
    """A message on the alert topic that is not an alert of a schema this version knows."""


def result_messages(header: Header, detection: Detection) -> Iterator[tuple[topics.Topic, object]]:
    """Yield every message about one frame with its topic; all carry the image's `header`."""
    yield topics.SCORE, Float32(detection.score)
    yield topics.REGIONS, regions_message(header, detection.regions)
    yield topics.SEGMENTATION, segmentation_message(header, detection)
    yield topics.ANOMALY_MAP, anomaly_map_message(header, detection)


def alert_messages(alert: Alert, now: Stamp) -> Iterator[tuple[topics.Topic, object]]:
    """Yield every message of one heartbeat with its topic."""
    yield topics.ALERT, alert_message(alert, now)
    yield topics.UNSAFE, Bool(alert.state.unsafe)


def segmentation_message(header: Header, detection: Detection) -> RawImage:
    """Return the labels as `mono8` (H, W); 255 is unlabeled."""
    height, width = detection.labels.shape
    data = np.ascontiguousarray(detection.labels).reshape(-1)
    return RawImage(header, height, width, 'mono8', 0, width, data)


def anomaly_map_message(header: Header, detection: Detection) -> RawImage:
    """Return the anomaly probabilities as `32FC1` (H, W) in [0, 1]; NaN is invalid."""
    height, width = detection.anomaly_map.shape
    data = np.ascontiguousarray(detection.anomaly_map, '<f4').reshape(-1).view(np.uint8)
    return RawImage(header, height, width, '32FC1', 0, 4 * width, data)


def rgb_message(header: Header, image: UInt8Array) -> RawImage:
    """Return a uint8 RGB image (H, W, 3) as `rgb8`."""
    height, width, _ = image.shape
    data = np.ascontiguousarray(image).reshape(-1)
    return RawImage(header, height, width, 'rgb8', 0, 3 * width, data)


def jpeg_message(header: Header, image: UInt8Array, quality: int) -> RawCompressedImage:
    """Return a uint8 RGB image (H, W, 3) as JPEG of a quality from 1 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return RawCompressedImage(
        header, 'rgb8; jpeg compressed bgr8', np.asarray(data, np.uint8).reshape(-1)
    )


def regions_message(header: Header, regions: Sequence[Region]) -> Detection2DArray:
    """Return the unknown regions in pixels of the camera image; the score is the peak."""
    return Detection2DArray(
        header,
        tuple(
            Detection2D(
                header,
                (ObjectHypothesisWithPose(ObjectHypothesis('unknown', region.peak)),),
                BoundingBox2D(
                    Pose2D(Point2D(region.x + region.width / 2, region.y + region.height / 2)),
                    region.width,
                    region.height,
                ),
            )
            for region in regions
        ),
    )


def label_info_message(class_names: Sequence[str], threshold: float, now: Stamp) -> LabelInfo:
    """Return what the labels of the segmentation mean; `threshold` is that of the regions."""
    classes = [VisionClass(label, name) for label, name in enumerate(class_names)]
    classes.append(VisionClass(UNLABELED, 'unlabeled'))
    return LabelInfo(Header(now), tuple(classes), threshold)


def alert_message(alert: Alert, now: Stamp) -> DiagnosticArray:
    """Return one heartbeat: level ERROR unless the state is safe, details as key-values.

    The keys are an interface, versioned by `schema`. `causes` is a JSON list of
    [state, code, text], most severe first.
    """
    source = alert.source or Header()
    causes = [
        [cause.state.name, cause.code, printable(cause.text)]
        for cause in sorted(alert.causes, key=lambda cause: -cause.state)
    ]
    values = {
        'schema': str(SCHEMA),
        'state': alert.state.name,
        'score': _number(alert.score),
        'evidence': _number(alert.evidence),
        'threshold': _number(alert.threshold),
        'seq': str(alert.seq),
        'age_ms': _number(alert.age_ms),
        'causes': json.dumps(causes, ensure_ascii=False),
        'latched': str(alert.latched).lower(),
        'stamp': f'{source.stamp.sec}.{source.stamp.nanosec:09d}' if alert.source else '',
        'frame_id': source.frame_id,
        'calibration': CALIBRATIONS[alert.certified],
    }
    return DiagnosticArray(Header(now), (_status(alert, 'alert', values),))


def fallback_messages(seq: int, now: Stamp) -> Iterator[tuple[topics.Topic, object]]:
    """Yield what is said where the alert itself cannot be put into a message: FAULT.

    Nothing in it comes from outside.
    """
    cause = Cause(State.FAULT, 'unpublishable', 'the alert could not be put into a message')
    alert = Alert('', State.FAULT, (cause,), math.nan, 0.0, math.nan, seq, math.inf)
    yield from alert_messages(alert, now)


def alerts_from_message(message: DiagnosticArray) -> list[Alert]:
    """Return the alert of every camera in a message of the alert topic.

    Raises AlertFormatError for another schema or a missing or unreadable value.
    """
    return [_read_alert(status) for status in message.status]


def diagnostics_message(
    alert: Alert, statistics: Statistics, facts: Mapping[str, str], now: Stamp
) -> DiagnosticArray:
    """Return the state of the monitor itself; `facts` are constants such as the engine."""
    values = {
        'state': alert.state.name,
        'age_ms': _number(alert.age_ms),
        'received_hz': _number(statistics.received_hz),
        'judged_hz': _number(statistics.scored_hz),
        'received': str(statistics.received),
        'judged': str(statistics.scored),
        'refused': str(statistics.refused),
        'failed': str(statistics.failed),
        'dropped': str(statistics.dropped),
    }
    for stage, milliseconds in statistics.latency_ms.items():
        for percentile, value in zip(PERCENTILES, milliseconds, strict=True):
            values[f'{stage}_ms_p{percentile}'] = _number(value)
    return DiagnosticArray(Header(now), (_status(alert, 'performance', {**values, **facts}),))


def _status(alert: Alert, task: str, values: Mapping[str, str]) -> DiagnosticStatus:
    level = _ERROR if alert.state.unsafe else _WARN if alert.state > State.NOMINAL else _OK
    return DiagnosticStatus(
        level,
        printable(f'{NODE}: {alert.camera} {task}'),
        printable(alert.message),
        printable(alert.camera),
        tuple(KeyValue(key, printable(value, LONGEST_VALUE)) for key, value in values.items()),
    )


def _number(value: float) -> str:
    return f'{value:.9g}'


def _read_alert(status: DiagnosticStatus) -> Alert:
    values = {item.key: item.value for item in status.values}
    schema = values.get('schema')
    if schema != str(SCHEMA):
        raise AlertFormatError(
            f'{status.name!r} has alert schema {schema!r}, this version reads {SCHEMA}; '
            'use the same ros2_ood_monitor on both sides'
        )
    try:
        sec, _, nanosec = values['stamp'].partition('.')
        source = Header(Stamp(int(sec), int(nanosec)), values['frame_id']) if sec else None
        return Alert(
            camera=status.hardware_id,
            state=State[values['state']],
            causes=tuple(
                Cause(State[state], code, text)
                for state, code, text in json.loads(values['causes'])
            ),
            score=float(values['score']),
            evidence=float(values['evidence']),
            threshold=float(values['threshold']),
            seq=int(values['seq']),
            age_ms=_not_negative(float(values['age_ms'])),
            source=source,
            latched=values['latched'] == 'true',
            # Absent in alerts of 0.1.
            certified=_CERTIFIED[values.get('calibration', '')],
        )
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise AlertFormatError(
            f'{status.name!r} is not an alert: {type(error).__name__} {error}; '
            'check who else publishes on the alert topic'
        ) from error


_CERTIFIED = {word: certified for certified, word in CALIBRATIONS.items()}


def _not_negative(age_ms: float) -> float:
    if math.isnan(age_ms) or age_ms < 0:
        raise ValueError(f'age_ms is {age_ms}')
    return age_ms
