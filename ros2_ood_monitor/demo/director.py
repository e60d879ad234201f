"""Run the demo: start the processes, inject events at known times, compare with the alert."""

from __future__ import annotations

import queue
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ros2_ood_monitor.bundle.store import replace_file
from ros2_ood_monitor.demo.alert_listener import AlertListener
from ros2_ood_monitor.demo.outcome import Outcome, Transition, compare, is_answer
from ros2_ood_monitor.demo.processes import Camera, DemoError, Process
from ros2_ood_monitor.demo.render import render
from ros2_ood_monitor.demo.report import announce_change, announce_event
from ros2_ood_monitor.demo.schedule import Event, EventKind, Schedule
from ros2_ood_monitor.demo.truth import Injected, injected

READY_S = 120.0
"""How long the monitor may take to load its engines on a slow machine."""

LEAD_S = 3.0
"""From starting the camera process to its first image."""

RESTART_S = 2.0
"""How long before the end of a death the camera is started again: it needs time to load."""


MONITOR_CONFIG = """\
# A laptop with a browser open stalls a process for a third of a second now and then.
/**:
  ros__parameters:
    supervision:
      max_age_ms: 450.0
"""


def run_demo(
    bundle: Path, folder: Path, schedule: Schedule, domain_id: int, console: Console
) -> tuple[Outcome, float]:
    """Run camera and monitor as processes and return the outcome and the camera's start time.

    Leaves schedule, logs, overlay images and bag in `folder`. Raises DemoError if a process
    dies on its own. Whatever happens, both processes are stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob('alert_*.jpg'), *folder.glob('*.log')):
        old.unlink()
    schedule.save(folder / 'schedule.json')
    images = folder / 'camera.npy'
    with ExitStack() as stack:
        stack.callback(images.unlink, missing_ok=True)
        drawn = render(schedule, images)
        for _ in track(drawn, 'drawing the camera images', schedule.frames, console=console):
            pass
        listener = AlertListener(domain_id, folder / 'demo.mcap', folder)
        stack.callback(listener.close)
        monitor = start_monitor(bundle, domain_id, folder)
        stack.callback(monitor.stop)
        wait_until_ready(listener, monitor)
        start_s = time.monotonic() + LEAD_S
        camera = Camera(
            folder / 'schedule.json', images, start_s, domain_id, folder / 'camera.log'
        )
        stack.callback(camera.stop)
        camera.start()
        console.print('the monitor is ready; the camera starts')
        performance = Performance(schedule, camera, monitor, listener, start_s, console)
        performance.run()
        return performance.outcome(), start_s


def start_monitor(bundle: Path, domain_id: int, folder: Path) -> Process:
    """Start `ood-monitor run`, as a user would."""
    config = folder / 'monitor.yaml'
    replace_file(config, lambda part: part.write_text(MONITOR_CONFIG, encoding='utf-8'))
    arguments = (
        '-m',
        'ros2_ood_monitor',
        'run',
        '--bundle',
        str(bundle),
        '--config',
        str(config),
        '--middleware',
        'dds',
        '--domain-id',
        str(domain_id),
    )
    return Process('monitor', arguments, folder / 'monitor.log')


def wait_until_ready(listener: AlertListener, monitor: Process) -> None:
    """Wait for the heartbeat to say that only an image is missing."""
    deadline = time.monotonic() + READY_S
    while not listener.causes or 'loading' in listener.causes:
        monitor.require_running()
        if time.monotonic() > deadline:
            raise DemoError(f'the monitor is not ready after {READY_S:.0f} s ({monitor.log})')
        time.sleep(0.05)


class Performance:
    """The part with images: kills and revives the camera, reports, until the last image."""

    def __init__(
        self,
        schedule: Schedule,
        camera: Camera,
        monitor: Process,
        listener: AlertListener,
        start_s: float,
        console: Console,
    ) -> None:
        self._schedule = schedule
        self._camera = camera
        self._monitor = monitor
        self._listener = listener
        self._start_s = start_s
        self._console = console
        self._killed: dict[Event, float] = {}
        self._revived: set[Event] = set()
        self._announced: set[Event] = set()
        self._transitions: list[Transition] = []

    def run(self) -> None:
        """Return when the camera has sent its last image."""
        last = self._schedule.frames - 1
        while not any(one.frame == last for one in self._camera.sent[-1:]):
            self._do_harm(time.monotonic() - self._start_s)
            self._monitor.require_running()
            self._camera.require_running()
            try:
                change = self._listener.transitions.get(timeout=0.02)
            except queue.Empty:
                self._announce_events()
                continue
            self._announce_events()
            before = self._transitions[-1].state if self._transitions else None
            self._transitions.append(change)
            known = self._injected()
            if change.state is not before or any(is_answer(change, one) for one in known):
                announce_change(self._console, change, known, self._start_s)

    def outcome(self) -> Outcome:
        """Compare what was injected until now with the alerts."""
        return compare(self._injected(), self._transitions)

    def _injected(self) -> list[Injected]:
        return injected(self._schedule, self._camera.sent, self._killed)

    def _announce_events(self) -> None:
        for one in self._injected():
            if one.event not in self._announced:
                self._announced.add(one.event)
                announce_event(self._console, one, self._start_s)

    def _do_harm(self, now_s: float) -> None:
        # Between two images, so that it is clear which one was the last.
        early_s = 0.5 / self._schedule.fps
        for event in self._schedule.events:
            if event.kind is not EventKind.DEATH:
                continue
            if event not in self._killed and now_s >= event.start_s - early_s:
                self._killed[event] = self._camera.kill()
            if event not in self._revived and now_s >= event.end_s - RESTART_S:
                self._revived.add(event)
                self._camera.start()
