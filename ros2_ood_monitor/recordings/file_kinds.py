"""Tell by content what a file is that holds no images, so that the refusal can say what to do."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

MCAP = b'\x89MCAP0\r\n'
SQLITE = b'SQLite format 3\x00'
ROS1_BAG = b'#ROSBAG V'

_PICKLED_TORCH = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'
"""How torch.save began until version 1.6: a pickled magic number."""
_ONNX_FIELDS = frozenset(b'\x12\x1a\x22\x28\x32\x3a\x42')
"""Keys of the fields that may follow `ir_version` in an ONNX file (protobuf)."""
_LONGEST_HEADER = 100_000_000


def first_bytes(path: Path, count: int = 16) -> bytes:
    """Return the first bytes of a file; empty if it cannot be read."""
    try:
        with path.open('rb') as file:
            return file.read(count)
    except OSError:
        return b''


def advice_on_foreign(path: Path) -> str | None:
    """Return what a ROS 1 bag or a network file is and what to do with it, None for others."""
    start = first_bytes(path)
    if start.startswith(ROS1_BAG):
        return (
            f'is a ROS 1 bag; convert it: rosbags-convert --src {path} --dst {path.stem} '
            "(pip install '.[bags]')"
        )
    network = _network_format(path, start)
    if network is None:
        return None
    return (
        f'is a network ({network}), not images; a network is watched as part of a bundle '
        '(--bundle DIR); name a folder of images, a video or a bag here'
    )


def _network_format(path: Path, start: bytes) -> str | None:
    if start.startswith(_PICKLED_TORCH) or _is_torch_archive(path, start):
        return 'PyTorch'
    if _is_safetensors(path, start):
        return 'safetensors'
    # ir_version as the first field, a number below 32, then another field of a model.
    if len(start) > 2 and start[0] == 0x08 and 0 < start[1] < 32 and start[2] in _ONNX_FIELDS:
        return 'ONNX'
    return None


def _is_torch_archive(path: Path, start: bytes) -> bool:
    if not start.startswith(b'PK\x03\x04'):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(('data.pkl', 'constants.pkl')) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _is_safetensors(path: Path, start: bytes) -> bool:
    length = int.from_bytes(start[:8], 'little')
    if start[8:9] != b'{' or not 1 < length <= min(_LONGEST_HEADER, path.stat().st_size - 8):
        return False
    try:
        return isinstance(json.loads(first_bytes(path, 8 + length)[8:]), dict)
    except ValueError:
        return False
