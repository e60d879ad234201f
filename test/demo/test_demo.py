"""The demo: its schedule, its outcome of alerts, and (slow) the whole of it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ros2_ood_monitor.alert import State
from ros2_ood_monitor.demo.outcome import RELEASE_S, Transition, compare
from ros2_ood_monitor.demo.processes import DemoError, Process
from ros2_ood_monitor.demo.render import render
from ros2_ood_monitor.demo.schedule import Event, EventKind, Schedule
from ros2_ood_monitor.demo.truth import Injected, Sent
from ros2_ood_monitor.demo.truth import injected as really_injected
from ros2_ood_monitor.scenes.scene_frame import VIEW_KINDS

DOMAIN_ID = 191  # and 192; no other test uses them

ANOMALY = Event(EventKind.ANOMALY, 'a box', 8.0, 3.0)
FREEZE = Event(EventKind.FREEZE, 'camera freezes', 15.0, 2.0)
FOG = Event(EventKind.VIEW, 'fog', 8.0, 4.0, 'fog')
REGION, FROZEN = frozenset({'unknown_region'}), frozenset({'frozen'})


def schedule(*events: Event) -> Schedule:
    return Schedule(seed=1, width=64, height=48, fps=10.0, duration_s=20.0, events=events)


def test_schedule_survives_its_file(tmp_path):
    one = schedule(ANOMALY, FREEZE)
    one.save(tmp_path / 'schedule.json')
    assert Schedule.load(tmp_path / 'schedule.json') == one


def test_a_reader_of_the_schedule_never_sees_half_of_it(tmp_path):
    path = tmp_path / 'schedule.json'
    schedule(ANOMALY, FREEZE).save(path)
    with path.open(encoding='utf-8') as reader:
        schedule(ANOMALY).save(path)
        assert len(json.load(reader)['events']) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_frozen_camera_repeats_the_last_image_and_then_catches_up():
    one = schedule(ANOMALY, FREEZE)
    assert [one.image(frame) for frame in (148, 149, 150, 169, 170)] == [
        148,
        149,
        149,
        149,
        170,
    ]


@pytest.mark.parametrize(
    'events',
    [
        (ANOMALY, Event(EventKind.DEATH, 'inside the anomaly', 9.0, 1.0)),
        (Event(EventKind.DEATH, 'beyond the end', 19.0, 2.0),),
        (Event(EventKind.DEATH, 'empty', 5.0, 0.0),),
    ],
)
def test_schedule_refuses_events_that_cannot_be_told_apart(events):
    with pytest.raises(ValueError, match=events[-1].what):
        schedule(*events)


def injected(event: Event) -> Injected:
    return Injected(event, event.start_s, event.end_s)


def test_alert_within_the_limit_passes_and_its_delay_is_reported():
    outcome = compare(
        [injected(ANOMALY), injected(FREEZE)],
        [
            Transition(0.0, State.INITIALIZING),
            Transition(1.0, State.NOMINAL),
            Transition(8.3, State.ALERT, REGION),
            Transition(11.5, State.NOMINAL),
            Transition(15.4, State.FAULT, FROZEN),
            Transition(17.2, State.NOMINAL),
        ],
    )
    assert outcome.passed
    assert [answer.delay_s for answer in outcome.answers] == pytest.approx([0.3, 0.4])
    assert [answer.cleared_s for answer in outcome.answers] == [11.5, 17.2]


def test_late_alert_fails():
    outcome = compare(
        [injected(ANOMALY)],
        [Transition(1.0, State.NOMINAL), Transition(8.6, State.ALERT, REGION)],
    )
    assert not outcome.passed
    assert outcome.answers[0].delay_s == pytest.approx(0.6)


def test_fault_does_not_answer_an_anomaly():
    outcome = compare(
        [injected(ANOMALY)],
        [Transition(1.0, State.NOMINAL), Transition(8.2, State.FAULT, FROZEN)],
    )
    assert outcome.answers[0].alert is None
    assert not outcome.passed


def test_alarm_outside_every_window_is_false():
    transitions = [
        Transition(1.0, State.NOMINAL),
        Transition(4.0, State.ALERT),
        Transition(5.0, State.NOMINAL),
        Transition(8.2, State.ALERT, REGION),
        Transition(ANOMALY.end_s + RELEASE_S + 0.1, State.FAULT),
    ]
    outcome = compare([injected(ANOMALY)], transitions)
    assert outcome.false_alarms == (transitions[1], transitions[4])
    assert not outcome.passed


def test_start_of_the_monitor_is_no_alarm():
    outcome = compare([], [Transition(0.0, State.INITIALIZING), Transition(2.0, State.FAULT)])
    assert outcome.passed


@pytest.mark.parametrize(
    ('state', 'codes', 'answered'),
    [
        (State.ALERT, {'unusual_image', 'unknown_region'}, True),
        (State.ALERT, {'unknown_region'}, False),
        (State.CAUTION, {'unusual_image'}, False),
    ],
)
def test_a_view_must_be_called_by_its_name_and_has_more_time(state, codes, answered):
    transitions = [Transition(1.0, State.NOMINAL), Transition(9.9, state, frozenset(codes))]
    outcome = compare([injected(FOG)], transitions)
    assert (outcome.answers[0].alert is not None) == answered == outcome.passed


def test_an_alarm_that_finds_more_causes_is_one_alarm():
    transitions = [
        Transition(1.0, State.NOMINAL),
        Transition(3.0, State.ALERT, REGION),
        Transition(3.1, State.ALERT, REGION | {'unknown_view'}),
        Transition(5.0, State.NOMINAL),
    ]
    assert compare([], transitions).false_alarms == (transitions[1],)


def test_silence_is_a_miss():
    assert not compare([injected(FREEZE)], [Transition(1.0, State.NOMINAL)]).passed


def test_event_begins_with_its_first_image_and_ends_with_the_next_good_one():
    death = Event(EventKind.DEATH, 'camera dies', 15.0, 2.0)
    one = schedule(ANOMALY, death)
    sent = [Sent(frame, 100.0 + frame / 10) for frame in range(200) if not 150 <= frame < 172]
    found = really_injected(one, sent, {death: 114.93})
    assert [(event.start_s, event.end_s) for event in found] == [
        (pytest.approx(108.0), pytest.approx(111.0)),
        (114.93, pytest.approx(117.2)),
    ]


def test_event_that_has_not_begun_is_not_reported():
    assert really_injected(schedule(ANOMALY), [Sent(79, 7.9)], {}) == []


def test_revived_camera_sends_nothing_before_the_death_is_over():
    one = schedule(Event(EventKind.DEATH, 'camera dies', 15.0, 2.0))
    assert [one.resume(frame) for frame in (149, 150, 169, 170)] == [149, 170, 170, 170]


def test_images_show_the_anomaly_in_exactly_the_scheduled_frames(tmp_path):
    plain = Schedule(seed=3, width=64, height=48, fps=10.0, duration_s=3.0, events=())
    event = Event(EventKind.ANOMALY, 'a ball', 1.0, 1.0, 'ball')
    harmed = Schedule(seed=3, width=64, height=48, fps=10.0, duration_s=3.0, events=(event,))
    shown = []
    for one in (plain, harmed):
        assert list(render(one, tmp_path / 'camera.npy')) == list(range(1, 31))
        shown.append(np.load(tmp_path / 'camera.npy'))
    differs = np.flatnonzero((shown[0] != shown[1]).any(axis=(1, 2, 3)))
    assert differs.tolist() == list(range(harmed.first_frame(event), harmed.end_frame(event)))


@pytest.mark.parametrize('view', VIEW_KINDS)
def test_images_show_another_view_in_exactly_the_scheduled_frames(view, tmp_path):
    shown = []
    event = Event(EventKind.VIEW, view, 1.0, 1.0, view)
    for events in ((), (event,)):
        one = Schedule(seed=3, width=64, height=48, fps=10.0, duration_s=3.0, events=events)
        assert list(render(one, tmp_path / 'camera.npy')) == list(range(1, 31))
        shown.append(np.load(tmp_path / 'camera.npy'))
    change = np.abs(shown[0].astype(float) - shown[1]).mean(axis=(1, 2, 3))
    assert np.flatnonzero(change).tolist() == list(range(10, 20))
    assert change[10:20].min() > 15


def processes_with(text: str) -> list[str]:
    """Return the command lines of running processes that contain `text`."""
    found = []
    for entry in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):
            line = entry.read_bytes().replace(b'\0', b' ').decode(errors='replace')
            if text in line:
                found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.alone
def test_camera_faults_reach_a_subscriber_and_both_processes_leave(tiny_bundle, tmp_path):
    """The toy bundle knows nothing about roads, so only the camera's faults are checked here."""
    from mcap.reader import make_reader
    from rich.console import Console

    from ros2_ood_monitor.demo.director import run_demo

    one = Schedule(
        seed=3,
        width=64,
        height=48,
        fps=15.0,
        duration_s=9.0,
        events=(
            Event(EventKind.FREEZE, 'camera freezes', 1.5, 1.2),
            Event(EventKind.DEATH, 'camera dies', 4.5, 2.5),
        ),
    )
    outcome, _ = run_demo(tiny_bundle, tmp_path, one, DOMAIN_ID, Console(quiet=True))
    delays = [answer.delay_s for answer in outcome.answers]
    assert len(delays) == 2
    assert all(delay is not None and delay <= 0.5 for delay in delays)
    assert processes_with(str(tmp_path)) == []
    assert not (tmp_path / 'camera.npy').exists()
    with open(tmp_path / 'demo.mcap', 'rb') as file:
        summary = make_reader(file).get_summary()
    recorded = {channel.topic for channel in summary.channels.values()}
    assert {'/image', '/ood/alert', '/ood/overlay/compressed', '/diagnostics'} <= recorded


@pytest.mark.slow
@pytest.mark.alone
def test_ctrl_c_stops_camera_and_monitor(tiny_bundle, tmp_path):
    demo = subprocess.Popen(
        [
            sys.executable,
            '-m',
            'ros2_ood_monitor',
            'demo',
            '--bundle',
            str(tiny_bundle),
            '--output',
            str(tmp_path),
            '--domain-id',
            str(DOMAIN_ID + 1),
        ],
        stdout=subprocess.PIPE,
        text=True,
        # What a shell runs in the background inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if 'the camera starts' in line:
            break
    # A process that is just being started has no command line for a moment.
    deadline = time.monotonic() + 10
    while len(processes_with(f'--domain-id {DOMAIN_ID + 1}')) < 3:
        assert time.monotonic() < deadline, processes_with(f'--domain-id {DOMAIN_ID + 1}')
        time.sleep(0.02)
    demo.send_signal(signal.SIGINT)
    assert 'camera and monitor are stopped' in demo.stdout.read()
    assert demo.wait(10) == 130
    assert processes_with(f'--domain-id {DOMAIN_ID + 1}') == []


def test_dead_monitor_process_is_an_error_that_names_its_log(tmp_path):
    process = Process('monitor', ['-c', 'raise SystemExit("no such bundle")'], tmp_path / 'm.log')
    process.popen.wait()
    with pytest.raises(DemoError, match=r'code 1: no such bundle .*m\.log'):
        process.require_running()
