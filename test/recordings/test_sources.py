"""Folders, videos, bags and synthetic scenes as cameras."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as RosbagsWriter
from rosbags.typesys import Stores, get_typestore

from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.cdr import serialize
from ros2_ood_monitor.messages.conversions import jpeg_message, rgb_message
from ros2_ood_monitor.messages.types import Float32
from ros2_ood_monitor.recordings.mcap_writer import McapWriter
from ros2_ood_monitor.recordings.sources import SourceError, open_source

WIDTH, HEIGHT = 64, 48


def an_image(number: int) -> np.ndarray:
    """A red image with a number in its green channel."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = 200
    image[..., 1] = 20 * number
    return image


def pixels(message: RawImage) -> np.ndarray:
    return message.data.reshape(message.height, message.width, 3)


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.webp', '.jpg'])
def test_a_folder_is_read_in_order_of_names_as_rgb(tmp_path, suffix):
    for number in (2, 0, 1):
        flags = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == '.webp' else []
        cv2.imwrite(str(tmp_path / f'{number}{suffix}'), an_image(number)[..., ::-1], flags)
    (tmp_path / 'notes.txt').write_text('not an image')
    source = open_source(tmp_path, fps=10)
    frames = list(source)
    assert source.count == len(frames) == 3
    for number, frame in enumerate(frames):
        assert (frame.encoding, frame.step, frame.width) == ('rgb8', WIDTH * 3, WIDTH)
        np.testing.assert_allclose(pixels(frame), an_image(number), atol=6)
    stamps = [frame.header.stamp.to_ns() for frame in frames]
    assert stamps == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    assert len(list(source)) == 3  # from the beginning again


def test_a_broken_image_in_a_folder_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), an_image(0))
    (tmp_path / 'b.png').write_bytes(b'\x89PNG broken')
    (tmp_path / 'c.png').touch()
    frames = iter(open_source(tmp_path))
    next(frames)
    with pytest.raises(SourceError, match=r'b\.png'):
        next(frames)


def test_a_video_keeps_its_rate(tmp_path):
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 20.0, (WIDTH, HEIGHT))
    for number in range(5):
        writer.write(np.ascontiguousarray(an_image(number)[..., ::-1]))
    writer.release()
    source = open_source(path)
    frames = list(source)
    assert source.count == len(frames) == 5
    assert frames[1].header.stamp.to_ns() - frames[0].header.stamp.to_ns() == 50_000_000
    np.testing.assert_allclose(pixels(frames[3]), an_image(3), atol=12)


def images(count: int) -> list[RawImage]:
    return [rgb_message(Header(Stamp(10 + n, 7), 'cam'), an_image(n)) for n in range(count)]


def test_our_own_bag_gives_back_the_recorded_messages(tmp_path):
    path = tmp_path / 'bag.mcap'
    with McapWriter(path) as bag:
        for image in images(4):
            bag.write(topics.camera_input('/front/image'), image, image.header.stamp.to_ns())
            bag.write(topics.SCORE, Float32(1.0), image.header.stamp.to_ns())
    source = open_source(path)
    assert source.count == 4
    assert '/front/image' in source.name
    assert [serialize(frame) for frame in source] == [serialize(image) for image in images(4)]


@pytest.mark.parametrize('plugin', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_bag_directory_of_rosbag2_is_read(tmp_path, plugin):
    store = get_typestore(Stores.ROS2_JAZZY)
    path = tmp_path / 'recording'
    with RosbagsWriter(path, version=9, storage_plugin=plugin) as bag:
        raw = bag.add_connection('/image', topics.IMAGE, typestore=store)
        other = bag.add_connection('/score', 'std_msgs/msg/Float32', typestore=store)
        for number, image in enumerate(images(3)):
            bag.write(raw, number, serialize(image))
            bag.write(other, number, serialize(Float32(0.0)))
    source = open_source(path)
    assert source.count == 3
    assert [serialize(frame) for frame in source] == [serialize(image) for image in images(3)]
    (file,) = (entry for entry in path.iterdir() if entry.suffix != '.yaml')
    assert len(list(open_source(file))) == 3  # the bare file works too


def test_compressed_images_come_out_compressed(tmp_path):
    path = tmp_path / 'bag.mcap'
    topic = topics.camera_input('/image/compressed', compressed=True)
    with McapWriter(path) as bag:
        bag.write(topic, jpeg_message(Header(Stamp(1), 'cam'), an_image(0), 90), 1)
    (frame,) = open_source(path)
    assert isinstance(frame, RawCompressedImage)


def test_one_of_several_image_topics_must_be_named(tmp_path):
    path = tmp_path / 'bag.mcap'
    with McapWriter(path) as bag:
        for name in ('/front', '/rear'):
            bag.write(topics.camera_input(name), images(1)[0], 1)
    with pytest.raises(SourceError, match='/front, /rear'):
        open_source(path)
    assert len(list(open_source(path, topic='/rear'))) == 1
    with pytest.raises(SourceError, match='/left'):
        open_source(path, topic='/left')


def test_a_bag_without_images_says_so(tmp_path):
    path = tmp_path / 'bag.mcap'
    with McapWriter(path) as bag:
        bag.write(topics.SCORE, Float32(1.0), 1)
    with pytest.raises(SourceError, match='0 image topics'):
        open_source(path)


def damaged_bags(directory: Path) -> list[Path]:
    whole = directory / 'whole.mcap'
    with McapWriter(whole) as bag:
        for image in images(3):
            bag.write(topics.camera_input('/image'), image, 1)
    data = whole.read_bytes()
    cut, text, empty = (directory / f'{name}.mcap' for name in ('cut', 'text', 'empty'))
    cut.write_bytes(data[: len(data) // 2])
    text.write_text('not a bag at all')
    empty.touch()
    altered = directory / 'altered.mcap'
    altered.write_bytes(data[:60] + bytes(byte ^ 255 for byte in data[60:90]) + data[90:])
    no_bag = directory / 'text.db3'
    no_bag.write_text('not a database')
    no_tables = directory / 'no_tables.db3'
    sqlite3.connect(no_tables).close()
    return [cut, text, empty, altered, no_bag, no_tables]


@pytest.mark.parametrize('index', range(6))
def test_damaged_bags_are_refused_in_one_sentence(tmp_path, index):
    path = damaged_bags(tmp_path)[index]
    with pytest.raises(SourceError, match=path.name) as error:
        list(open_source(path))
    assert '\n' not in str(error.value)


def test_reading_never_alters_a_bag(tmp_path):
    path = tmp_path / 'recording'
    with RosbagsWriter(path, version=9) as bag:
        raw = bag.add_connection(
            '/image', topics.IMAGE, typestore=get_typestore(Stores.ROS2_JAZZY)
        )
        bag.write(raw, 1, serialize(images(1)[0]))
    before = {entry: entry.read_bytes() for entry in path.iterdir()}
    list(open_source(path))
    assert {entry: entry.read_bytes() for entry in path.iterdir()} == before


def test_synthetic_scenes_are_repeatable_and_differ_by_seed():
    def first(spec: str) -> list[RawImage]:
        frames = iter(open_source(spec, fps=15))
        return [next(frames) for _ in range(2)]

    one, again, other = first('synthetic:3'), first('synthetic:3'), first('synthetic:4')
    np.testing.assert_array_equal(one[1].data, again[1].data)
    assert not np.array_equal(one[1].data, other[1].data)
    assert one[0].encoding == 'rgb8'
    assert one[1].header.stamp.to_ns() - one[0].header.stamp.to_ns() == 66_666_667


@pytest.mark.parametrize(
    ('name', 'content', 'reason'),
    [
        ('missing', None, 'does not exist'),
        ('empty', 'directory', 'no images'),
        ('text.txt', 'file', 'not a video'),
    ],
)
def test_what_is_no_source_is_refused_with_a_hint(tmp_path, name, content, reason):
    path = tmp_path / name
    if content == 'directory':
        path.mkdir()
    elif content == 'file':
        path.write_text('hello')
    with pytest.raises(SourceError, match=reason):
        open_source(path)


def network_file(folder: Path, kind: str) -> Path:
    import torch

    path = folder / kind.replace(' ', '_')
    tensors = {'weight': torch.ones(2, 3)}
    if kind == 'ONNX':
        from support.tiny_bundle import save_networks

        (folder / 'networks').mkdir()
        save_networks(folder / 'networks')['flow'].rename(path)
    elif kind == 'safetensors':
        from safetensors.torch import save_file

        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == 'PyTorch')
    return path


@pytest.mark.parametrize('suffix', ['', '.mp4', '.mcap', '.pt'])
@pytest.mark.parametrize('kind', ['ONNX', 'safetensors', 'PyTorch', 'PyTorch before 1.6'])
def test_a_network_given_as_a_source_is_called_one_whatever_its_name(tmp_path, kind, suffix):
    path = network_file(tmp_path, kind)
    path = path.rename(path.with_name(path.name + suffix))
    with pytest.raises(
        SourceError, match=rf'is a network \({kind.split()[0]}\).*--bundle'
    ) as error:
        open_source(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['drive.bag', 'drive', 'drive.mcap', 'drive.avi'])
def test_a_ros_1_bag_is_called_one_and_its_conversion_is_named(tmp_path, name):
    path = tmp_path / name
    with Ros1Writer(path) as bag:
        bag.add_connection('/image', topics.IMAGE, typestore=get_typestore(Stores.ROS1_NOETIC))
    assert path.read_bytes().startswith(b'#ROSBAG')
    with pytest.raises(SourceError, match=f'ROS 1 bag.*rosbags-convert --src {path}'):
        open_source(path)
    with pytest.raises(SourceError, match='ROS 1 bag'):
        open_source(tmp_path)


@pytest.mark.parametrize('plugin', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_bag_under_another_name_is_a_bag(tmp_path, plugin):
    with RosbagsWriter(tmp_path / 'bag', version=9, storage_plugin=plugin) as bag:
        raw = bag.add_connection(
            '/image', topics.IMAGE, typestore=get_typestore(Stores.ROS2_JAZZY)
        )
        bag.write(raw, 1, serialize(images(1)[0]))
    (file,) = (entry for entry in (tmp_path / 'bag').iterdir() if entry.suffix != '.yaml')
    renamed = file.rename(tmp_path / 'recording.bin')
    assert len(list(open_source(renamed))) == 1


@pytest.mark.parametrize('start', [b'', b'\x08', b'\x08\x07', b'PK\x03\x04cut', bytes(8) + b'{'])
def test_a_file_that_only_begins_like_a_network_is_no_network(tmp_path, start):
    (tmp_path / 'drive').write_bytes(start)
    with pytest.raises(SourceError, match='not a video'):
        open_source(tmp_path / 'drive')


@pytest.mark.parametrize('fps', [0.0, -1.0, float('nan'), 1e6])
def test_impossible_rates_are_refused(fps):
    with pytest.raises(SourceError, match='frames per second'):
        open_source('synthetic', fps=fps)


def test_sources_need_neither_dds_nor_torch():
    script = (
        'import sys, ros2_ood_monitor.recordings.sources as s; '
        'assert not {"cyclonedds", "torch", "rclpy"} & set(sys.modules), "imported"'
    )
    subprocess.run([sys.executable, '-c', script], check=True)
