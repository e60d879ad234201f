"""The way of one image through checks, engines and supervision; the same live and in replay."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple, Protocol

from ros2_ood_monitor.bundle.manifest import Manifest
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Frame, RawCompressedImage, RawImage
from ros2_ood_monitor.supervision.input_check import InputCheck, InputFault
from ros2_ood_monitor.supervision.state_machine import Supervisor


class Arrival(NamedTuple):
    """An image and the moment it arrived, on the steady and on the stamps' clock (ns)."""

    raw: RawImage | RawCompressedImage
    received_ns: int
    stamp_clock_ns: int


class Scorer(Protocol):
    """Scores a frame; a `Runner` is one."""

    @property
    def bundle(self) -> Manifest:
        """What the networks are, and what images they expect."""
        ...

    def infer(self, frame: Frame) -> Detection:
        """Return the detection of `frame`; raises RunnerError if it cannot be scored."""
        ...


def score_arrival(
    arrival: Arrival, check: InputCheck, runner: Scorer, supervisor: Supervisor
) -> tuple[Frame, Detection] | None:
    """Return frame and detection, or None if the image was refused or the result is worthless.

    The supervisor has been told either way. Whatever the runner raises is passed on.
    """
    start = time.perf_counter()
    try:
        image = check.check(*arrival, expects_color=runner.bundle.expects_color)
    except InputFault as fault:
        supervisor.input_fault(fault, arrival.received_ns)
        return None
    check_ms = (time.perf_counter() - start) * 1e3
    frame = Frame(image, arrival.raw.header, arrival.received_ns)
    detection = runner.infer(frame)
    detection = replace(detection, timings={'check': check_ms, **detection.timings})
    if not supervisor.accepted(detection, frame.header, arrival.received_ns):
        return None
    return frame, detection
