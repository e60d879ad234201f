"""Text from outside cannot silence the alert, forge a line, or leave its folder."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ros2_ood_monitor.alert import Alert, Cause, State
from ros2_ood_monitor.bundle.strict_json import JsonError, Section
from ros2_ood_monitor.commands import watch as watch_command
from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.cdr import deserialize, serialize
from ros2_ood_monitor.messages.conversions import (
    alert_message,
    alert_messages,
    alerts_from_message,
    fallback_messages,
)
from ros2_ood_monitor.parameter import ParameterError
from ros2_ood_monitor.parameters import check_parameter
from ros2_ood_monitor.printable import PrintableFormatter, is_printable, printable
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.input_check import InputCheck, InputFault

ODD = ['a\0b', 'a\nb', '\x1b[31m', '\u202e', '\ud800', 'a\u2028b']
text = st.text(st.characters(), max_size=40)


def alert(camera: str, cause: str, frame_id: str) -> Alert:
    causes = (Cause(State.ALERT, 'unknown_region', cause),)
    return Alert(camera, State.ALERT, causes, 1.0, 2.0, 3.0, 4, 5.0, Header(Stamp(1, 2), frame_id))


@given(text, text, text)
@example('a\0b', '\ud800', '\0')
def test_every_alert_can_be_sent_and_read(camera: str, cause: str, frame_id: str) -> None:
    message = alert_message(alert(camera, cause, frame_id), Stamp(1, 0))
    (read,) = alerts_from_message(
        deserialize('diagnostic_msgs/msg/DiagnosticArray', serialize(message))
    )
    assert read.state == State.ALERT
    assert read.camera == printable(camera)
    assert read.causes[0].text == printable(cause)
    assert all(map(is_printable, (read.camera, read.causes[0].text, read.source.frame_id)))


@given(text)
def test_what_is_printable_stays_as_it_is(value: str) -> None:
    assert is_printable(printable(value))
    assert not is_printable(value) or printable(value) == value
    assert len(printable(value * 1000)) <= 12 * 2000


def test_the_fallback_is_a_fault_that_holds_nothing_from_outside() -> None:
    sent = dict(fallback_messages(7, Stamp(1, 0)))
    (read,) = alerts_from_message(sent[topics.ALERT])
    assert (read.state, read.seq, read.causes[0].code) == (State.FAULT, 7, 'unpublishable')
    assert sent[topics.UNSAFE].data is True
    for message in sent.values():
        serialize(message)
    assert list(sent) == [topic for topic, _ in alert_messages(read, Stamp(1, 0))]


@pytest.mark.parametrize('odd', ODD)
@pytest.mark.parametrize('where', ['frame_id', 'encoding', 'format'])
def test_an_image_with_odd_text_is_a_fault(where: str, odd: str) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
    header = Header(Stamp(1, 0), odd if where == 'frame_id' else 'camera')
    image = RawImage(
        header, 8, 8, odd if where == 'encoding' else 'rgb8', 0, 24, pixels.reshape(-1)
    )
    if where == 'format':
        import cv2

        data = np.asarray(cv2.imencode('.png', pixels)[1], np.uint8).reshape(-1)
        image = RawCompressedImage(header, f'rgb8; png compressed {odd}', data)
    with pytest.raises(InputFault) as refused:
        InputCheck(SupervisionConfig(check_stamp_age=False)).check(image, 1, 10**9)
    # An encoding is refused as such, before anybody looks at its letters.
    assert refused.value.code == ('encoding' if where == 'encoding' else 'odd_text')
    assert is_printable(str(refused.value))


@pytest.mark.parametrize('name', [*ODD, '', '../../x', 'a/b', '.hidden', '-x', 'x' * 65])
def test_a_camera_cannot_be_named_so_that_its_bags_leave_their_folder(name: str) -> None:
    with pytest.raises(ParameterError, match=r'camera\.name in my\.yaml must be a name'):
        check_parameter('camera.name', name, 'my.yaml')


@pytest.mark.parametrize('name', ['camera', 'front left', 'cam_1.raw', 'Kälte', 'a-b'])
def test_usual_names_are_names(name: str) -> None:
    assert check_parameter('camera.name', name) == name


@pytest.mark.parametrize('odd', ODD)
def test_a_manifest_holds_no_odd_text(odd: str) -> None:
    with pytest.raises(JsonError, match='printable'):
        Section('manifest', {'name': odd}).text('name')


def test_a_log_line_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord('x', logging.WARNING, '', 1, '%s', ('a\nERROR: b',), None)
    line = PrintableFormatter('%(levelname)s: %(message)s').format(record)
    assert line == 'WARNING: a\\nERROR: b'


def test_an_odd_alert_neither_ends_watching_nor_forges_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = alert('[/bold]\n12:00:00  front  NOMINAL', '[red]\x1b[2J', 'camera')
    monkeypatch.setattr('ros2_ood_monitor.node.watcher.watch', lambda *_: iter([odd, None]))
    monkeypatch.setattr(
        watch_command, 'join', lambda *_: type('Bus', (), {'close': lambda self: None})()
    )
    monkeypatch.setattr(watch_command, 'stop_on_signals', lambda: None)
    monkeypatch.setenv('COLUMNS', '300')
    from ros2_ood_monitor.cli import main

    assert main(['watch']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ['[/bold]\\n12:00:00', 'SILENCE:']
    assert '\x1b' not in ''.join(lines)
