"""A source played as a camera."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp
from ros2_ood_monitor.messages.topics import camera_output
from ros2_ood_monitor.recordings.player import play
from ros2_ood_monitor.recordings.sources import Source


class Bus:
    def __init__(self) -> None:
        self.advertised = set()
        self.sent = []

    def advertise(self, topic) -> None:
        self.advertised.add(topic)

    def publish(self, topic, message) -> None:
        assert topic in self.advertised
        self.sent.append((time.monotonic(), topic, message))


def source(*times_s: float) -> Source:
    def read():
        for number, seconds in enumerate(times_s):
            header = Header(Stamp.from_ns(round(seconds * 1e9)), f'frame{number}')
            yield RawImage(header, 1, 1, 'mono8', 0, 1, np.full(1, number, np.uint8))

    return Source('test', len(times_s), read)


def test_images_are_sent_at_their_distances_and_stamped_now():
    bus, counts = Bus(), []
    before = time.time_ns()
    total = play(source(5, 5.05, 5.2), bus, 'image', threading.Event(), sent=counts.append)
    assert total == 3
    assert counts == [1, 2, 3]
    times = [sent_s for sent_s, _, _ in bus.sent]
    assert times[1] - times[0] == pytest.approx(0.05, abs=0.03)
    assert times[2] - times[1] == pytest.approx(0.15, abs=0.03)
    assert {topic for _, topic, _ in bus.sent} == {camera_output('image')}
    for number, (_, _, message) in enumerate(bus.sent):
        assert before <= message.header.stamp.to_ns() <= time.time_ns()
        assert message.header.frame_id == f'frame{number}'
        assert message.data[0] == number


def test_a_rate_overrides_the_stamps_and_a_loop_ends_on_request():
    bus, stop = Bus(), threading.Event()

    def stop_after_seven(count: int) -> None:
        if count == 7:
            stop.set()

    begin = time.monotonic()
    assert play(source(0, 100), bus, 'image', stop, 50.0, True, stop_after_seven) == 7
    assert time.monotonic() - begin < 1.0
    gaps = np.diff([sent_s for sent_s, _, _ in bus.sent])
    assert np.median(gaps) == pytest.approx(0.02, abs=0.01)


def test_a_single_image_in_a_loop_is_sent_at_30_hz_not_faster():
    bus, stop = Bus(), threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert 8 <= play(source(0), bus, 'image', stop, loop=True) <= 17


def test_a_slow_source_is_not_followed_by_a_burst():
    def read():
        for number in range(6):
            if number == 1:
                time.sleep(0.5)
            header = Header(Stamp.from_ns(number * 100_000_000))
            yield RawImage(header, 0, 0, '', 0, 0, np.empty(0, np.uint8))

    bus = Bus()
    play(Source('slow', 6, read), bus, 'image', threading.Event())
    gaps = np.diff([sent_s for sent_s, _, _ in bus.sent])
    assert gaps[2:].min() > 0.05


def test_compressed_images_go_to_the_compressed_topic():
    def read():
        yield RawCompressedImage(Header(Stamp(1)), 'jpeg', np.zeros(3, np.uint8))

    bus = Bus()
    play(Source('jpegs', 1, read), bus, 'cam/image', threading.Event())
    assert bus.sent[0][1] == camera_output('cam/image/compressed', compressed=True)
