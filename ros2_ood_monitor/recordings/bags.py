"""Camera images out of ROS 2 bags, without ROS: MCAP files and SQLite (`.db3`) files."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ros2_ood_monitor.frame import RawCompressedImage, RawImage
from ros2_ood_monitor.messages.cdr import CdrError, deserialize
from ros2_ood_monitor.messages.topics import COMPRESSED_IMAGE, IMAGE
from ros2_ood_monitor.recordings.file_kinds import MCAP, SQLITE, first_bytes

if TYPE_CHECKING:
    from mcap.summary import Summary

BAG_SUFFIXES = ('.mcap', '.db3')
_IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)


class BagError(Exception):
    """A bag that is unreadable or has no such images; the message says what to do."""


@dataclass(frozen=True)
class Bag:
    """The files of a bag in order, and the image topic to read."""

    files: tuple[Path, ...]
    topic: str
    type_name: str


def find_bag(path: Path, topic: str | None = None) -> Bag:
    """Look into a bag file, or a directory of them, for `topic` or the only image topic.

    Raises BagError when the bag is unreadable, or names the topics there are.
    """
    files = (
        (path,)
        if path.is_file()
        else tuple(sorted(file for file in path.iterdir() if file.suffix in BAG_SUFFIXES))
    )
    if not files:
        raise BagError(f'{path} holds no bag; there should be a {" or ".join(BAG_SUFFIXES)} file')
    types: dict[str, str] = {}
    for file in files:
        types.update(_topic_types(file))
    images = {name: kind for name, kind in types.items() if kind in _IMAGE_TYPES}
    listing = ', '.join(sorted(images)) or 'none'
    if topic is not None:
        if topic not in images:
            raise BagError(f'{path} has no image topic {topic}; its image topics: {listing}')
        return Bag(files, topic, images[topic])
    if len(images) != 1:
        raise BagError(f'{path} has {len(images)} image topics ({listing}); name one of them')
    ((name, kind),) = images.items()
    return Bag(files, name, kind)


def count_images(bag: Bag) -> int | None:
    """Return how many messages the topic has, None if the bag does not say."""
    counts = [_count(file, bag.topic) for file in bag.files]
    return sum(count for count in counts if count is not None) if None not in counts else None


def read_images(bag: Bag) -> Iterator[RawImage | RawCompressedImage]:
    """Yield the topic's images in the order of recording; raises BagError at a broken one."""
    for file in bag.files:
        messages = _sqlite_messages if _is_sqlite(file) else _mcap_messages
        try:
            for data in messages(file, bag.topic):
                yield deserialize(bag.type_name, data)
        except CdrError as error:
            raise BagError(f'{file} has a broken message on {bag.topic}: {error}') from error


def is_bag(path: Path) -> bool:
    """Return whether a file is a ROS 2 bag by its suffix or, under another name, by content."""
    return path.suffix in BAG_SUFFIXES or first_bytes(path).startswith((MCAP, SQLITE))


def _is_sqlite(file: Path) -> bool:
    return file.suffix == '.db3' or first_bytes(file).startswith(SQLITE)


def _topic_types(file: Path) -> Mapping[str, str]:
    if _is_sqlite(file):
        return dict(_rows(file, 'SELECT name, type FROM topics'))
    summary = _summary(file)
    return {
        channel.topic: summary.schemas[channel.schema_id].name
        for channel in summary.channels.values()
        if channel.schema_id in summary.schemas
    }


def _count(file: Path, topic: str) -> int | None:
    if _is_sqlite(file):
        ((count,),) = _rows(
            file,
            'SELECT COUNT(*) FROM messages JOIN topics ON topics.id = topic_id WHERE name = ?',
            topic,
        )
        return int(count)
    summary = _summary(file)
    if summary.statistics is None:
        return None
    return sum(
        summary.statistics.channel_message_counts.get(number, 0)
        for number, channel in summary.channels.items()
        if channel.topic == topic
    )


def _broken() -> tuple[type[Exception], ...]:
    """Return what the MCAP reader raises on files that are cut off or altered."""
    from mcap.exceptions import McapError
    from zstandard import ZstdError

    return (OSError, McapError, struct.error, ValueError, LookupError, ZstdError)


def _summary(file: Path) -> Summary:
    from mcap.reader import make_reader

    try:
        with file.open('rb') as stream:
            summary = make_reader(stream).get_summary()
    except _broken() as error:
        raise _unreadable(file, error) from error
    if summary is None:
        raise BagError(f'{file} has no summary, its recording was cut off; run mcap recover on it')
    return summary


def _mcap_messages(file: Path, topic: str) -> Iterator[bytes]:
    from mcap.reader import make_reader

    try:
        with file.open('rb') as stream:
            for _, _, message in make_reader(stream).iter_messages(topics=[topic]):
                yield message.data
    except _broken() as error:
        raise _unreadable(file, error) from error


def _sqlite_messages(file: Path, topic: str) -> Iterator[bytes]:
    for (data,) in _rows(
        file,
        'SELECT data FROM messages JOIN topics ON topics.id = topic_id WHERE name = ? '
        'ORDER BY timestamp',
        topic,
    ):
        yield data


def _rows(file: Path, statement: str, *values: str) -> Iterator[Any]:
    try:
        # Read-only, so that a bag on a write-protected disk opens and none is ever altered.
        uri = f'file:{quote(str(file))}?mode=ro'
        with closing(sqlite3.connect(uri, uri=True)) as database:
            yield from database.execute(statement, values)
    except sqlite3.Error as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> BagError:
    reason = ' '.join(str(error).split()) or type(error).__name__
    return BagError(f'{file} is not a readable bag ({reason}); record or copy it again')
