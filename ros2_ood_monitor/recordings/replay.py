"""Score recorded images as if they came from a camera: same code, no middleware, full speed."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import cv2

from ros2_ood_monitor.alert import Alert, State
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Frame, RawCompressedImage, RawImage, Stamp, UInt8Array
from ros2_ood_monitor.inference.runner import Runner, RunnerError
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import alert_messages, jpeg_message, result_messages
from ros2_ood_monitor.pages.overlay import draw
from ros2_ood_monitor.recordings.mcap_writer import McapWriter
from ros2_ood_monitor.supervision.clock import ManualClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.input_check import InputCheck
from ros2_ood_monitor.supervision.scoring import Arrival, score_arrival
from ros2_ood_monitor.supervision.state_machine import Supervisor

BAG, ALERTS, SUMMARY, OVERLAYS = 'replay.mcap', 'alerts.jsonl', 'summary.json', 'overlays'
IMAGE = topics.camera_output('image/compressed', compressed=True)
JPEG_QUALITY = 90

LONGEST_GAP_S = 3.0
"""Heartbeats are written this far into a gap between images; then time jumps to the next one."""


@dataclass
class ReplaySummary:
    """What a replay found; `frames_by_state` is the state right after each image."""

    frames: int = 0
    scored: int = 0
    refused: int = 0
    """Images that the input checks refused or on which the engines failed."""
    seconds: float = 0.0
    """Wall-clock time of the replay."""
    recorded_seconds: float = 0.0
    """Time from the first to the last image by their stamps."""
    highest_score: float = 0.0
    highest_score_frame: int = -1
    frames_by_state: dict[str, int] = field(default_factory=dict)
    transitions: list[dict[str, object]] = field(default_factory=list)
    """Every change of state: seconds since the first image, number of the newest image, state
    and message."""

    def text(self) -> str:
        """Return the summary for people."""
        rate = self.frames / self.seconds if self.seconds else 0.0
        lines = [
            f'{self.frames} images ({self.recorded_seconds:.1f} s of camera time) in '
            f'{self.seconds:.1f} s, {rate:.1f} images/s; {self.scored} scored, '
            f'{self.refused} refused',
            f'highest score {self.highest_score:.2f} at image {self.highest_score_frame}',
            '',
            'state          images',
            *(f'{state:<14} {count:>6}' for state, count in self.frames_by_state.items()),
            '',
            '   time    image  state',
            *(
                f'{change["seconds"]:>7.2f} {change["frame"]:>8}  {change["state"]:<13} '
                f'{change["message"]}'
                for change in self.transitions
            ),
        ]
        return '\n'.join(lines) + '\n'


def replay(
    bundle: ModelBundle,
    source: Iterable[RawImage | RawCompressedImage],
    output: Path,
    backend: str = 'auto',
    config: SupervisionConfig | None = None,
    overlay_limit: int = 200,
    region_of_interest: UInt8Array | None = None,
    second_look_every: int = 0,
) -> ReplaySummary:
    """Score every image of `source` and write what the monitor would have published.

    In `output`: `replay.mcap` (images, segmentation, anomaly maps, regions, scores and alerts as
    ROS 2 messages), `alerts.jsonl` (one line per image and per change of state), `overlays/` (the
    first `overlay_limit` images that changed the state or were not NOMINAL, and the most anomalous
    one), `summary.json`. They replace those of an earlier replay, all of them at the end or, if
    anything goes wrong, none. Time is that of the image stamps, so a gap is a silent camera.
    `region_of_interest` and `second_look_every` are those of a `Runner`.
    Raises SelfTestError, EngineError, OSError and what the source raises.
    """
    # Stamps are the only clock of a recording.
    config = config or SupervisionConfig(check_stamp_age=False)
    with (
        _results(Path(output)) as directory,
        Runner(
            bundle,
            backend,
            region_of_interest=region_of_interest,
            second_look_every=second_look_every,
        ) as runner,
    ):
        runner.self_test()
        (directory / OVERLAYS).mkdir()
        with (
            McapWriter(directory / BAG) as bag,
            (directory / ALERTS).open('w', encoding='utf-8') as lines,
        ):
            run = _Replay(runner, config, bag, lines, directory / OVERLAYS, overlay_limit)
            for number, raw in enumerate(source):
                run.image(number, raw)
            summary = run.finish()
        (directory / SUMMARY).write_text(json.dumps(asdict(summary), indent=1) + '\n')
    return summary


@contextlib.contextmanager
def _results(output: Path) -> Iterator[Path]:
    """Give a directory whose content moves to `output` if the block succeeds."""
    output.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix='.replay-', dir=output))
    try:
        yield directory
        for made in directory.iterdir():
            target = output / made.name
            if target.is_dir():
                shutil.rmtree(target)
            made.replace(target)
    finally:
        shutil.rmtree(directory)


class _Replay:
    """The supervision of one recording and its results so far."""

    def __init__(
        self,
        runner: Runner,
        config: SupervisionConfig,
        bag: McapWriter,
        lines: TextIO,
        overlays: Path,
        overlay_limit: int,
    ) -> None:
        self._runner = runner
        self._bag = bag
        self._lines = lines
        self._overlays = overlays
        self._overlays_left = overlay_limit
        self._palette = [entry.color for entry in runner.bundle.classes]
        self._clock = ManualClock()
        self._check = InputCheck(config)
        self._supervisor = Supervisor('replay', config, self._clock)
        self._beat_ns = round(1e9 / config.heartbeat_hz)
        certificate = runner.bundle.channels[DEFAULT_CHANNEL].certificate
        self._frame_ns = round(1e9 / certificate.frame_rate)
        self._first_ns: int | None = None
        self._published: object = None
        self._state: State | None = None
        self._number = -1
        self._highest = (-math.inf, -math.inf)
        self._started = time.perf_counter()
        self._counts: Counter[State] = Counter()
        self._summary = ReplaySummary()

    def image(self, number: int, raw: RawImage | RawCompressedImage) -> None:
        """Let the time until `raw` pass, then score it."""
        self._pass_time(raw.header.stamp.to_ns())
        self._number = number
        now_ns = self._clock.now_ns()
        self._supervisor.received(now_ns)
        result = None
        try:
            arrival = Arrival(raw, now_ns, now_ns)
            result = score_arrival(arrival, self._check, self._runner, self._supervisor)
        except RunnerError as error:
            self._supervisor.engine_fault(str(error), now_ns)
        before = self._state
        alert = self._publish(number, result[1] if result else None)
        self._counts[alert.state] += 1
        self._summary.frames += 1
        if result is None:
            self._summary.refused += 1
            return
        self._summary.scored += 1
        self._keep(*result, alert, changed=alert.state != before)

    def finish(self) -> ReplaySummary:
        """Return the summary."""
        summary = self._summary
        summary.seconds = time.perf_counter() - self._started
        summary.recorded_seconds = (self._clock.now_ns() - (self._first_ns or 0)) / 1e9
        summary.frames_by_state = {
            state.name: self._counts[state] for state in State if self._counts[state]
        }
        return summary

    def _pass_time(self, stamp_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = stamp_ns
            self._clock.advance_to(stamp_ns)
            self._supervisor.set_phase('loading')
            self._supervisor.arm(self._runner.bundle.channels)
            self._supervisor.set_phase('ready')
            self._publish()
            return
        start_ns = self._clock.now_ns()
        # A stamp that does not advance is a fault of its own; time goes on all the same.
        end_ns = stamp_ns if stamp_ns > start_ns else start_ns + self._frame_ns
        last_beat_ns = min(end_ns - 1, start_ns + round(LONGEST_GAP_S * 1e9))
        for beat_ns in range(start_ns + self._beat_ns, last_beat_ns, self._beat_ns):
            self._clock.advance_to(beat_ns)
            self._publish()
        self._clock.advance_to(end_ns)

    def _publish(self, frame: int | None = None, detection: Detection | None = None) -> Alert:
        alert = self._supervisor.tick()
        now_ns = self._clock.now_ns()
        for topic, message in alert_messages(alert, Stamp.from_ns(now_ns)):
            self._bag.write(topic, message, now_ns)
        seconds = (now_ns - (self._first_ns or 0)) / 1e9
        if alert.state != self._state:
            self._state = alert.state
            self._summary.transitions.append(
                {
                    'seconds': seconds,
                    'frame': self._number,
                    'state': alert.state.name,
                    'message': alert.message,
                }
            )
        published = (alert.state, [cause.code for cause in alert.causes])
        if frame is not None or published != self._published:
            self._published = published
            self._lines.write(json.dumps(_line(alert, detection, frame, seconds)) + '\n')
        return alert

    def _keep(self, frame: Frame, detection: Detection, alert: Alert, changed: bool) -> None:
        now_ns = self._clock.now_ns()
        self._bag.write(IMAGE, jpeg_message(frame.header, frame.image, JPEG_QUALITY), now_ns)
        for topic, message in result_messages(frame.header, detection):
            self._bag.write(topic, message, now_ns)
        remarkable = changed or alert.state != State.NOMINAL
        # A score saturates at the size of its reference, the statistic does not.
        rank = (detection.score, detection.scores[DEFAULT_CHANNEL].statistic)
        highest = rank > self._highest
        if highest:
            self._highest = rank
            self._summary.highest_score = detection.score
            self._summary.highest_score_frame = self._number
        if not (highest or (remarkable and self._overlays_left > 0)):
            return
        overlay = draw(frame.image, detection, alert, self._palette)
        _, data = cv2.imencode('.png', cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
        if highest:
            (self._overlays / 'most_anomalous.png').write_bytes(data.tobytes())
        if remarkable and self._overlays_left > 0:
            self._overlays_left -= 1
            name = f'{self._number:06d}_{alert.state.name.lower()}.png'
            (self._overlays / name).write_bytes(data.tobytes())


def _line(
    alert: Alert, detection: Detection | None, frame: int | None, seconds: float
) -> dict[str, object]:
    return {
        'seconds': seconds,
        'frame': frame,
        'seq': alert.seq,
        'state': alert.state.name,
        'score': alert.score if math.isfinite(alert.score) else None,
        'evidence': alert.evidence,
        'threshold': alert.threshold,
        'regions': len(detection.regions) if detection is not None else None,
        'causes': [[cause.state.name, cause.code, cause.text] for cause in alert.causes],
    }
