from __future__ import annotations

import collections
import json
import math
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.channels import channel_scores, some_channel

from ros2_ood_monitor.alert import State
from ros2_ood_monitor.bundle.manifest import Alarm
from ros2_ood_monitor.detection import Detection, Region
from ros2_ood_monitor.frame import Header, Stamp
from ros2_ood_monitor.supervision.clock import ManualClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.cusum import LEAST_FRAMES, Cusum
from ros2_ood_monitor.supervision.frame_rate import FrameRate
from ros2_ood_monitor.supervision.input_check import InputFault
from ros2_ood_monitor.supervision.state_machine import Supervisor

RATE = 20.0
ALARM = Alarm(drift=1.0, threshold=5.0)
OTHER_ALARM = Alarm(drift=0.5, threshold=8.0)
ONE = {'object': some_channel(ALARM, RATE)}
TWO = {**ONE, 'density': some_channel(OTHER_ALARM, RATE)}
IMAGE = replace(some_channel(ALARM, RATE), cause='unusual_image', regions=None)
REGION = Region(10, 20, 30, 40, 900, 0.9, 0.7)


def detection(
    score: float = 0.3,
    regions: tuple[Region, ...] = (),
    density: float = 0.0,
    image: float = 0.0,
    sensitive: tuple[Region, ...] | None = None,
) -> Detection:
    return Detection(
        np.zeros((1, 1), np.uint8),
        np.zeros((1, 1), np.float32),
        channel_scores(score, density=density, image=image),
        regions,
        sensitive,
    )


class Rig:
    """A supervisor with a hand on its clock."""

    def __init__(self, channels=ONE, **config):
        self.channels = channels
        self.config = SupervisionConfig(**config)
        self.clock = ManualClock(10**9)
        self.supervisor = Supervisor('front', self.config, self.clock)
        self.frames = 0

    def ready(self) -> Rig:
        self.supervisor.set_phase('loading')
        self.supervisor.arm(self.channels)
        self.supervisor.set_phase('ready')
        return self

    def wait(self, seconds: float) -> Rig:
        self.clock.advance_to(self.clock.now_ns() + round(seconds * 1e9))
        return self

    def arrive(self) -> int:
        self.supervisor.received(self.clock.now_ns())
        return self.clock.now_ns()

    def frame(self, score=0.3, regions=(), takes=0.01, **others) -> State:
        """Let the next period pass, then an image arrive and be scored."""
        self.wait(1 / RATE - takes)
        arrived = self.arrive()
        self.wait(takes)
        self.frames += 1
        self.supervisor.accepted(
            detection(score, regions, **others), Header(Stamp(self.frames, 0), 'camera'), arrived
        )
        return self.state

    def bad_image(self, code='black') -> State:
        self.wait(1 / RATE)
        self.supervisor.input_fault(InputFault(code, 'the image is black'), self.arrive())
        return self.state

    @property
    def state(self) -> State:
        return self.supervisor.decision()[0]

    @property
    def codes(self) -> list[str]:
        return [cause.code for cause in self.supervisor.decision()[1]]


def test_nothing_is_ok_before_the_first_scored_frame():
    rig = Rig(startup_timeout_s=3.0)
    assert (rig.state, rig.codes) == (State.INITIALIZING, ['inactive'])
    rig.supervisor.set_phase('loading')
    assert (rig.state, rig.codes) == (State.INITIALIZING, ['loading'])
    assert rig.state.unsafe
    rig.ready()
    assert (rig.state, rig.codes) == (State.INITIALIZING, ['no_frame_judged'])
    rig.arrive()
    assert rig.state == State.INITIALIZING
    assert rig.frame() == State.NOMINAL


def test_ready_once_more_does_not_forgive_a_silent_camera():
    rig = Rig(stale_after_s=0.4).ready()
    rig.frame()
    rig.wait(0.3)
    rig.supervisor.set_phase('ready')
    rig.wait(0.2)
    assert rig.codes == ['stale']


def test_nothing_is_ok_after_loading_again_before_a_scored_frame():
    rig = Rig()
    rig.ready()
    assert rig.frame() == State.NOMINAL
    rig.supervisor.set_phase('loading')
    rig.wait(5.0)
    rig.ready()
    assert (rig.state, rig.codes) == (State.INITIALIZING, ['no_frame_judged'])
    assert rig.frame() == State.NOMINAL


@pytest.mark.parametrize(('phase', 'code'), [('ready', 'no_image'), ('loading', 'loading_slow')])
def test_a_start_that_takes_too_long_is_a_fault(phase, code):
    rig = Rig(startup_timeout_s=3.0)
    rig.supervisor.arm(ONE)
    rig.supervisor.set_phase(phase)
    rig.wait(2.9)
    assert rig.state == State.INITIALIZING
    rig.wait(0.2)
    assert rig.state == State.FAULT
    assert code in rig.codes


def test_a_dead_camera_is_a_fault_without_any_event():
    rig = Rig(stale_after_s=0.4).ready()
    rig.frame(takes=0.0)
    rig.wait(0.39)
    assert rig.state == State.NOMINAL
    rig.wait(0.02)
    assert (rig.state, rig.codes) == (State.FAULT, ['stale'])


def test_a_silence_that_ended_before_anyone_looked_still_counts():
    rig = Rig(stale_after_s=0.4).ready()
    rig.frame()
    rig.wait(1.0)
    assert rig.frame() == State.FAULT


def test_an_engine_that_hangs_is_a_fault_while_images_keep_coming():
    rig = Rig(max_age_ms=300.0).ready()
    rig.frame()
    for _ in range(6):  # 0.3 s since the first of them
        rig.wait(0.05)
        rig.arrive()
    assert rig.state == State.NOMINAL
    rig.wait(0.06)
    rig.arrive()
    assert (rig.state, rig.codes) == (State.FAULT, ['too_slow'])


def test_a_late_result_is_a_fault():
    rig = Rig(max_age_ms=30.0, release_frames=1, release_s=0.0).ready()
    rig.frame()
    assert rig.frame(takes=0.031) == State.FAULT
    assert rig.codes == ['too_slow']
    assert rig.frame(takes=0.03) == State.NOMINAL


def test_an_image_that_waited_for_the_one_before_has_its_own_time():
    rig = Rig(max_age_ms=300.0, stale_after_s=10.0).ready()
    first = rig.arrive()
    rig.wait(0.2)
    second = rig.arrive()
    rig.supervisor.accepted(detection(), Header(), first)
    rig.wait(0.25)
    assert rig.state == State.NOMINAL
    rig.wait(0.06)
    assert rig.state == State.FAULT
    rig = Rig(max_age_ms=300.0, stale_after_s=10.0).ready()
    first = rig.arrive()
    rig.wait(0.2)
    second = rig.arrive()
    rig.supervisor.accepted(detection(), Header(), first)
    rig.wait(0.25)
    rig.supervisor.accepted(detection(), Header(), second)
    assert rig.state == State.NOMINAL


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_a_fault(value):
    rig = Rig().ready()
    rig.frame()
    assert rig.frame(score=value) == State.FAULT
    assert rig.codes == ['not_finite']
    assert rig.supervisor.tick().score == 0.3


def test_faults_are_immediate_and_their_release_takes_frames_and_time():
    rig = Rig(release_frames=5, release_s=0.5).ready()
    rig.frame()
    assert rig.bad_image() == State.FAULT
    # The fault ends with the first good frame; at 20 Hz half a second later is the eleventh.
    assert [rig.frame() for _ in range(11)] == [State.FAULT] * 10 + [State.NOMINAL]


def test_release_needs_frames_in_a_row():
    rig = Rig(release_frames=5, release_s=0.0).ready()
    rig.frame()
    rig.bad_image('black')
    for _ in range(4):
        assert rig.frame() == State.FAULT
    rig.bad_image('overexposed')
    assert [rig.frame() for _ in range(4)] == [State.FAULT] * 4
    assert rig.codes == ['black', 'overexposed']
    assert rig.frame() == State.NOMINAL


def test_time_alone_releases_nothing():
    rig = Rig(stale_after_s=30.0, release_s=0.0).ready()
    rig.frame()
    rig.bad_image()
    assert rig.wait(20.0).state == State.FAULT


def test_an_engine_fault_outlives_the_reload_until_frames_are_scored():
    rig = Rig(release_frames=1, release_s=0.0).ready()
    rig.frame()
    rig.supervisor.engine_fault('out of memory')
    assert (rig.state, rig.codes) == (State.FAULT, ['engine_failed'])
    rig.supervisor.set_phase('loading')
    assert rig.state == State.FAULT
    rig.ready()
    assert rig.state == State.FAULT
    assert rig.frame() == State.NOMINAL


def test_evidence_raises_the_alert_at_the_threshold_and_leaves_soon_after():
    rig = Rig(release_frames=5, release_s=0.5).ready()
    rig.frame()
    # +1 a frame: the fifth reaches the threshold of 5.
    states = [rig.frame(score=2.0) for _ in range(5)]
    assert states == [State.NOMINAL] * 4 + [State.ALERT]
    alert = rig.supervisor.tick()
    assert (alert.evidence, alert.threshold, alert.score) == (5.0, 5.0, 2.0)
    for _ in range(2000):
        assert rig.frame(score=4.0) == State.ALERT
    frames = 0
    while rig.frame(score=0.3) == State.ALERT:
        frames += 1
    assert 0.5 <= frames / RATE <= 1.0


def test_the_cap_never_delays_or_prevents_an_alarm():
    scores = np.random.default_rng(0).exponential(1.0, 3000)
    rule, evidence = Cusum(ALARM, RATE), 0.0
    fired = []
    for score in scores:
        rule.update(float(score))
        step = min(score - ALARM.drift, ALARM.threshold / LEAST_FRAMES)
        evidence = max(0.0, evidence + step)
        fired.append((rule.alarming, evidence >= ALARM.threshold))
    ours, textbook = np.array(fired).T
    assert textbook.any()
    assert np.argmax(ours) == np.argmax(textbook)
    assert not (ours & ~textbook).any()


def test_the_rule_is_the_one_that_manifest_and_schema_state():
    schema = json.loads((files('ros2_ood_monitor.bundle') / 'manifest.schema.json').read_text())
    said = [Alarm.__doc__, Cusum.__doc__, schema['$defs']['alarm']['description']]
    rule = 'max(0, S + min(score - drift, threshold / 3))'
    assert all(f'S = {rule}, alarm at S >= threshold' in text for text in said)
    cusum, evidence = Cusum(ALARM, RATE), 0.0
    for score in np.random.default_rng(1).exponential(1.2, 200).tolist():
        names = {'S': evidence, 'score': score, 'drift': ALARM.drift}
        evidence = eval(rule, {}, {**names, 'threshold': ALARM.threshold})
        cusum.update(score)
        assert cusum.alarming == (evidence >= ALARM.threshold)
        if cusum.alarming:
            return
        assert cusum.evidence == pytest.approx(evidence)
    raise AssertionError('no alarm in 200 frames')


ELSEWHERE = Region(300, 200, 30, 40, 900, 0.9, 0.7)


def test_a_lasting_region_is_a_caution_and_a_flicker_is_not():
    rig = Rig(trigger_frames=3, trigger_window=3, release_frames=2, release_s=0.0).ready()
    for one in (REGION, ELSEWHERE, REGION, ELSEWHERE):
        assert rig.frame(regions=(one,)) == State.NOMINAL
    moved = Region(35, 30, 30, 40, 900, 0.9, 0.7)
    assert rig.frame(regions=(ELSEWHERE, REGION)) == State.NOMINAL
    assert rig.frame(regions=(ELSEWHERE, moved)) == State.CAUTION
    assert '(300, 200)' in rig.supervisor.tick().message
    assert not rig.state.unsafe
    assert [rig.frame(), rig.frame()] == [State.CAUTION, State.NOMINAL]


def test_a_region_in_every_second_frame_persists():
    rig = Rig(trigger_frames=3, trigger_window=5).ready()
    states = [rig.frame(regions=(REGION,) * (frame % 2 == 0)) for frame in range(6)]
    assert states == [State.NOMINAL] * 4 + [State.CAUTION] * 2


def test_regions_that_are_seldom_seen_do_not_persist():
    rig = Rig(trigger_frames=3, trigger_window=5).ready()
    for frame in range(30):
        assert rig.frame(regions=(REGION,) * (frame % 3 == 0)) == State.NOMINAL


def test_two_operating_points_are_caution_and_alert():
    rig = Rig(trigger_frames=2, release_frames=1, release_s=0.0).ready()
    for _ in range(2):
        rig.frame(sensitive=(REGION,))
    assert rig.state == State.CAUTION
    for _ in range(2):
        rig.frame(regions=(REGION,), sensitive=(REGION,))
    assert rig.state == State.ALERT
    assert rig.codes == ['unknown_region']


def test_a_latched_region_stays_an_alert_while_only_the_mild_one_is_left():
    rig = Rig(trigger_frames=1, release_frames=1, release_s=0.0, latch=True).ready()
    rig.frame(regions=(REGION,), sensitive=(REGION,))
    for _ in range(9):
        rig.frame(sensitive=(REGION,))
    assert rig.state == State.ALERT
    assert rig.codes == ['unknown_region']


def test_an_unusual_image_is_an_alert_of_its_own():
    rig = Rig({**ONE, 'image': IMAGE}).ready()
    for _ in range(6):
        rig.frame(image=4.0)
    assert rig.state == State.ALERT
    assert rig.codes == ['unusual_image']
    assert 'unlike those of the calibration' in rig.supervisor.tick().message


def test_no_region_on_an_unusual_image_releases_nothing():
    rig = Rig({**ONE, 'image': IMAGE}, trigger_frames=1, release_frames=2, release_s=0.0).ready()
    for _ in range(6):
        rig.frame(image=4.0, regions=(REGION,))
    assert rig.codes == ['unusual_image', 'unknown_region']
    for _ in range(9):
        rig.frame(image=4.0)
    assert rig.codes == ['unusual_image', 'unknown_region']
    for _ in range(40):
        rig.frame()
    assert rig.state == State.NOMINAL


def test_each_rule_of_a_channel_raises_the_alarm_alone():
    slow, fast = Alarm(drift=0.2, threshold=6.0), Alarm(drift=2.0, threshold=3.0)
    both = {'object': replace(ONE['object'], alarms=(slow, fast))}
    rig = Rig(both).ready()
    fired = [rig.frame(score=4.0) for _ in range(3)]
    assert fired[-1] == State.ALERT  # the fast one
    rig = Rig(both).ready()
    states = [rig.frame(score=1.0) for _ in range(20)]
    assert states[6] == State.NOMINAL
    assert states[-1] == State.ALERT  # the slow one


def test_the_most_severe_cause_wins_and_all_are_listed():
    rig = Rig(trigger_frames=1).ready()
    for _ in range(6):
        rig.frame(score=4.0, regions=(REGION,))
    assert rig.codes == ['unknown_view', 'unknown_region']
    assert rig.bad_image() == State.FAULT
    assert rig.codes == ['black', 'unknown_view', 'unknown_region']
    assert rig.supervisor.tick().message.startswith('the image is black; the view')


def test_a_latched_state_stays_until_reset_and_reset_waits_for_the_cause_to_end():
    rig = Rig(latch=True, release_frames=3, release_s=0.2).ready()
    rig.frame()
    rig.bad_image()
    assert not rig.supervisor.tick().latched  # it is simply true
    done, why = rig.supervisor.reset()
    assert not done
    assert 'the image is black' in why
    rig.frame()
    assert not rig.supervisor.reset()[0]  # one good frame is not enough
    for _ in range(100):
        assert rig.frame() == State.FAULT
    assert rig.supervisor.tick().latched
    assert rig.supervisor.reset() == (True, 'reset')
    assert rig.state == State.NOMINAL
    assert not rig.supervisor.tick().latched


def test_deactivation_forgets_frames_and_late_results_but_not_a_latch():
    for latch, state in ((False, State.INITIALIZING), (True, State.FAULT)):
        rig = Rig(latch=latch).ready()
        rig.frame()
        rig.bad_image()
        rig.supervisor.set_phase('inactive')
        rig.supervisor.accepted(detection(), Header(), rig.arrive())
        rig.supervisor.engine_fault('late', rig.arrive())
        assert rig.state == state
        alert = rig.supervisor.tick()
        assert alert.source is None
        assert math.isnan(alert.score)
        assert alert.age_ms == math.inf
        assert 'inactive' in rig.codes
        rig.ready()
        assert rig.state == state


def test_engines_that_cannot_start_are_a_fault_before_activation():
    rig = Rig(release_frames=1, release_s=0.0)
    rig.supervisor.engine_fault('no bundle', code='setup_failed')
    assert (rig.state, rig.codes) == (State.FAULT, ['setup_failed', 'inactive'])
    rig.ready()
    assert rig.state == State.FAULT
    assert rig.frame() == State.NOMINAL


def test_a_stopped_monitor_is_a_fault():
    rig = Rig().ready()
    rig.frame()
    rig.supervisor.set_phase('stopped')
    assert (rig.state, rig.codes) == (State.FAULT, ['stopped'])


def test_evidence_survives_a_restart_of_the_same_bundle_only():
    rig = Rig().ready()
    for _ in range(3):
        rig.frame(score=2.0)
    rig.ready()
    assert rig.supervisor.tick().evidence == 3.0
    rig.supervisor.set_phase('inactive')
    rig.ready()
    assert rig.supervisor.tick().evidence == 0.0


def test_the_alert_tells_source_age_and_sequence():
    rig = Rig().ready()
    rig.frame(takes=0.01)
    rig.wait(0.1)
    alerts = [rig.supervisor.tick() for _ in range(3)]
    assert [alert.seq for alert in alerts] == [0, 1, 2]
    assert alerts[0].source == Header(Stamp(1, 0), 'camera')
    assert alerts[0].age_ms == pytest.approx(110.0)
    assert alerts[0].camera == 'front'


def test_changed_limits_apply_at_once():
    rig = Rig(stale_after_s=0.4).ready()
    rig.frame()
    rig.wait(0.6)
    rig.supervisor.configure(SupervisionConfig(stale_after_s=1.0))
    assert rig.state == State.NOMINAL
    with pytest.raises(ValueError, match="'on'"):
        rig.supervisor.set_phase('on')


def test_every_channel_gathers_its_own_evidence_and_the_leading_one_is_told():
    rig = Rig(TWO, release_frames=1, release_s=0.0).ready()
    rig.frame(score=2.0, density=1.5)
    alert = rig.supervisor.tick()  # 1 of 5 leads 1 of 8
    assert (alert.score, alert.evidence, alert.threshold) == (2.0, 1.0, 5.0)
    for _ in range(3):
        assert rig.frame(score=0.0, density=2.5) == State.NOMINAL
    alert = rig.supervisor.tick()
    assert (alert.score, alert.evidence, alert.threshold) == (2.5, 7.0, 8.0)
    assert rig.frame(score=0.0, density=2.5) == State.ALERT
    alert = rig.supervisor.tick()
    assert rig.codes == ['unknown_view']
    assert alert.message.endswith('reached the alarm threshold 8.0 of the channel density')
    # The other channel alarms before the first is over: one alert, told by the one further beyond.
    for _ in range(3):
        assert rig.frame(score=9.0, density=0.0) == State.ALERT
    assert rig.supervisor.tick().threshold == 5.0


def test_a_bundle_with_another_channel_starts_without_evidence():
    rig = Rig().ready()
    rig.frame(score=2.0)
    rig.supervisor.arm(TWO)
    assert rig.supervisor.tick().evidence == 0.0


def test_a_score_that_is_not_finite_names_its_channel():
    rig = Rig(TWO).ready()
    assert not rig.supervisor.accepted(detection(density=math.inf), Header(), rig.arrive())
    assert rig.codes == ['not_finite', 'no_frame_judged']
    assert 'score inf and statistic inf of the channel density' in rig.supervisor.tick().message


SEEN = collections.Counter()
SCORES = [0.0, 0.3, 0.9, 2.0]


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order: a bookkeeper who only knows the promises agrees."""

    channels = ONE

    def __init__(self):
        super().__init__()
        self.rig = Rig(
            self.channels,
            stale_after_s=0.4,
            release_frames=3,
            release_s=0.2,
            startup_timeout_s=5.0,
        )
        self.seq = 0
        self.phase = 'inactive'
        self.scored = False
        self.newest_good = False
        self.received_ns = None
        self.waiting_ns = []
        self.bad_ns = None
        self.good_frames = 0
        self.evidence = dict.fromkeys(self.channels, 0.0)
        self.rate = FrameRate()

    @property
    def now(self):
        return self.rig.clock.now_ns()

    def bad(self):
        self.bad_ns = self.now
        self.good_frames = 0

    @initialize(healthy=st.booleans())
    def begin(self, healthy):
        if healthy:
            self.phase_changes('ready')
            self.camera_is_fine(6, 0.3, 0.3)

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.1, 0.25, 0.5, 6.0]))
    def time_passes(self, seconds):
        self.rig.wait(seconds)

    @precondition(lambda self: self.phase == 'ready')
    @rule(
        frames=st.integers(1, 12), score=st.sampled_from(SCORES), density=st.sampled_from(SCORES)
    )
    def camera_is_fine(self, frames, score, density):
        for _ in range(frames):
            self.the_alert_keeps_its_promises()
            self.rig.wait(1 / RATE)
            self.image_arrives()
            self.the_alert_keeps_its_promises()
            self.rig.wait(0.01)
            self.newest_is_scored(score, density)

    @rule(phase=st.sampled_from(['loading', 'ready', 'inactive']), rarely=st.integers(0, 3))
    def phase_may_change(self, phase, rarely):
        if rarely == 0:
            self.phase_changes(phase)

    def phase_changes(self, phase):
        if phase == 'ready':
            self.rig.supervisor.arm(self.channels)
        self.rig.supervisor.set_phase(phase)
        self.phase = phase
        self.ready_ns = self.now
        self.waiting_ns = []
        if phase in ('loading', 'inactive'):
            self.scored = False
        if phase == 'inactive':
            self.newest_good = False
            self.received_ns = self.bad_ns = None
            self.evidence = dict.fromkeys(self.channels, 0.0)
            self.rate = FrameRate()

    @rule()
    def image_arrives(self):
        if self.phase == 'ready' and self.received_ns is not None:
            since_ns = max(self.received_ns, self.ready_ns)
            if self.now - since_ns > 0.4e9:
                self.bad()
        self.received_ns = self.rig.arrive()
        self.waiting_ns.append(self.received_ns)

    @precondition(lambda self: self.phase == 'ready' and self.waiting_ns)
    @rule(
        score=st.sampled_from([0.3, 4.0]),
        density=st.sampled_from([0.3, 4.0]),
        which=st.integers(0, 2),
    )
    def newest_is_scored(self, score, density, which=0):
        # With `which`, an older image is scored while newer ones wait.
        position = max(0, len(self.waiting_ns) - 1 - which)
        arrived = self.waiting_ns[position]
        self.rig.supervisor.accepted(detection(score, density=density), Header(), arrived)
        self.waiting_ns = self.waiting_ns[position + 1 :][-1:]
        self.scored = self.newest_good = True
        self.good_frames += 1
        self.rate.update(arrived)
        weight = self.rate.weight(RATE)
        for name, new in (('object', score), ('density', density)):
            if name in self.channels:
                (alarm,) = self.channels[name].alarms
                step = min(weight * (new - alarm.drift), alarm.threshold / LEAST_FRAMES)
                evidence = max(0.0, self.evidence[name] + step)
                overhang = min(alarm.threshold, alarm.drift * RATE * 0.1)
                self.evidence[name] = min(evidence, alarm.threshold + overhang)
        if self.now - arrived > 0.3e9 or max(self.shares()) >= 1 - 1e-12:
            self.bad()

    def shares(self):
        return [
            self.evidence[name] / channel.alarms[0].threshold
            for name, channel in self.channels.items()
        ]

    @precondition(lambda self: self.phase in ('ready', 'loading') and self.waiting_ns)
    @rule(how=st.sampled_from(['image', 'engine', 'nan']))
    def image_fails(self, how):
        arrived = self.waiting_ns[-1]
        if how == 'image':
            self.rig.supervisor.input_fault(InputFault('black', 'black'), arrived)
        elif how == 'engine':
            self.rig.supervisor.engine_fault('broken', arrived)
        else:
            assert not self.rig.supervisor.accepted(detection(math.nan), Header(), arrived)
        self.waiting_ns = []
        self.newest_good = False
        self.bad()
        assert self.rig.state == State.FAULT

    @rule()
    def reset_changes_nothing_without_a_latch(self):
        before = self.rig.state
        self.rig.supervisor.reset()
        assert self.rig.state == before

    @invariant()
    def the_alert_keeps_its_promises(self):
        alert = self.rig.supervisor.tick()
        assert alert.seq == self.seq
        self.seq += 1
        assert alert.state == max((cause.state for cause in alert.causes), default=State.NOMINAL)
        assert [-cause.state for cause in alert.causes] == sorted(
            -cause.state for cause in alert.causes
        )
        assert all(cause.text and cause.code for cause in alert.causes)
        if self.rig.supervisor._rules:
            assert alert.evidence / alert.threshold == pytest.approx(max(self.shares()))
            told = (alert.evidence, alert.threshold)
            assert any(
                told == pytest.approx((self.evidence[name], channel.alarms[0].threshold))
                for name, channel in self.channels.items()
            )
            if alert.evidence >= alert.threshold:
                assert alert.state >= State.ALERT
        else:
            assert alert.evidence == 0.0
        SEEN[alert.state, len(self.channels)] += 1
        if alert.state.unsafe:
            return
        assert self.phase == 'ready'
        assert self.scored
        assert self.newest_good
        assert math.isfinite(alert.score)
        assert self.now - self.received_ns <= 0.4e9
        assert not self.waiting_ns or self.now - self.waiting_ns[0] <= 0.3e9
        if self.bad_ns is not None:
            assert self.now - self.bad_ns >= 0.2e9
            assert self.good_frames >= 3


class AnyHistoryOfTwoChannels(AnyHistory):
    channels = TWO


MACHINES = pytest.mark.parametrize('machine', [AnyHistory, AnyHistoryOfTwoChannels])


@MACHINES
def test_any_history(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
        ),
    )
    # The histories were not all alike.
    states = [state for state in State if state != State.CAUTION]
    assert all(SEEN[state, len(machine.channels)] > 200 for state in states)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@MACHINES
def test_long_histories(machine, record_property):
    before = SEEN.total()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=2000, stateful_step_count=200, deadline=None, derandomize=False
        ),
    )
    record_property('alerts checked', f'{SEEN.total() - before:,}')
