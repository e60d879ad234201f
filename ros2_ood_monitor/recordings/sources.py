"""Cameras that are not there: image folders, videos, bags and synthetic scenes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp, UInt8Array
from ros2_ood_monitor.messages.conversions import rgb_message
from ros2_ood_monitor.recordings.bags import (
    BagError,
    count_images,
    find_bag,
    is_bag,
    read_images,
)
from ros2_ood_monitor.recordings.file_kinds import advice_on_foreign
from ros2_ood_monitor.supervision.decoding import InputFault, decode_image

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')
DEFAULT_FPS = 30.0
FRAME_ID = 'camera_optical_frame'
FIRST_STAMP_NS = 1_000_000_000
"""Stamp of the first frame of sources without a clock: zero would mean that none was set."""

SYNTHETIC_SIZE = (480, 360)
SYNTHETIC_FRAMES = 900

_SYNTHETIC = re.compile(r'synthetic(?::(\d+))?')


class SourceError(ValueError):
    """A source of images that is missing or unreadable; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """A named, repeatable stream of camera messages; iterating starts from the beginning.

    `count` is the number of frames, None if only reading tells. Iterating raises SourceError at
    the first frame that cannot be read.
    """

    name: str
    count: int | None
    read: Callable[[], Iterator[RawImage | RawCompressedImage]]

    def __iter__(self) -> Iterator[RawImage | RawCompressedImage]:
        return self.read()


def open_source(spec: str | Path, fps: float | None = None, topic: str | None = None) -> Source:
    """Open a folder of images, a video, a bag (`.mcap`, `.db3`, directory) or `synthetic[:SEED]`.

    `fps` sets the stamps of folders and synthetic scenes (30 if None) and overrides a video's
    own rate; bags keep their stamps. `topic` chooses among several image topics of a bag. Raises
    SourceError when there is nothing to read.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise SourceError(f'{fps:g} frames per second; choose more than 0 and at most 1000')
    synthetic = _SYNTHETIC.fullmatch(str(spec))
    if synthetic:
        return _synthetic(int(synthetic[1] or 0), fps or DEFAULT_FPS)
    path = Path(spec)
    if not path.exists():
        raise SourceError(
            f'{path} does not exist; name a folder, a video, a bag or synthetic[:SEED]'
        )
    inside = sorted(path.iterdir()) if path.is_dir() else []
    images = [file for file in inside if file.suffix.lower() in IMAGE_SUFFIXES]
    if images and not (path / 'metadata.yaml').exists():
        return _folder(path, images, fps or DEFAULT_FPS)
    for file in inside or [path]:
        advice = advice_on_foreign(file) if file.is_file() else None
        if advice is not None:
            raise SourceError(f'{file} {advice}')
    if path.is_dir() and not any(is_bag(file) for file in inside):
        raise SourceError(f'{path} holds no images; put {", ".join(IMAGE_SUFFIXES)} files there')
    if path.is_dir() or is_bag(path):
        return _bag(path, topic)
    return _video(path, fps)


def _stamped(image: UInt8Array, number: int, fps: float) -> RawImage:
    stamp = Stamp.from_ns(FIRST_STAMP_NS + round(number * 1e9 / fps))
    return rgb_message(Header(stamp, FRAME_ID), image)


def _folder(path: Path, files: list[Path], fps: float) -> Source:
    def read() -> Iterator[RawImage]:
        for number, file in enumerate(files):
            # Not cv2.imread: it cannot tell a missing permission from a broken file.
            try:
                encoded = np.frombuffer(file.read_bytes(), np.uint8)
            except OSError as error:
                raise SourceError(f'cannot read {file}: {error.strerror}') from error
            try:
                image = decode_image(encoded, turn_upright=True)
            except InputFault as fault:
                raise SourceError(
                    f'{file} is not a readable image: {fault}; replace or remove it'
                ) from fault
            yield _stamped(image, number, fps)

    return Source(str(path), len(files), read)


def _video(path: Path, fps: float | None) -> Source:
    capture = _capture(path)
    rate = fps or capture.get(cv2.CAP_PROP_FPS)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    rate = rate if 0 < rate <= 1000 else DEFAULT_FPS

    def read() -> Iterator[RawImage]:
        capture = _capture(path)
        try:
            number = 0
            while True:
                good, bgr = capture.read()
                if not good:
                    break
                yield _stamped(_rgb(bgr), number, rate)
                number += 1
        finally:
            capture.release()
        if number == 0:
            raise SourceError(f'{path} holds no readable frame; convert it to another codec')

    return Source(str(path), count if count > 0 else None, read)


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(
            f'{path} is not a video this OpenCV can read; convert it, or name a folder of images'
        )
    return capture


def _bag(path: Path, topic: str | None) -> Source:
    try:
        bag = find_bag(path, topic)
        count = count_images(bag)
    except BagError as error:
        raise SourceError(str(error)) from error

    def read() -> Iterator[RawImage | RawCompressedImage]:
        try:
            yield from read_images(bag)
        except BagError as error:
            raise SourceError(str(error)) from error

    return Source(f'{path} {bag.topic}', count, read)


def _synthetic(seed: int, fps: float) -> Source:
    def read() -> Iterator[RawImage]:
        from ros2_ood_monitor.scenes import SceneGenerator

        generator = SceneGenerator(seed, *SYNTHETIC_SIZE)
        for number, scene in enumerate(generator.clip(0, SYNTHETIC_FRAMES, fps)):
            yield _stamped(scene.image, number, fps)

    return Source(f'synthetic scenes, seed {seed}', SYNTHETIC_FRAMES, read)


def _rgb(bgr: np.ndarray) -> UInt8Array:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
