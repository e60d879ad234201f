"""Files that are either complete or absent: JSON, safetensors and resumable checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ros2_ood_monitor.bundle.store import Entry, replace_file


class StorageError(ValueError):
    """A stored file cannot be used; the message names the file and the remedy."""


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    replace_file(path, lambda part: part.write_text(text, encoding='utf-8'))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as it is, atomically."""
    replace_file(path, lambda part: part.write_bytes(data))


def read_json(path: Path) -> Any:
    """Read a JSON file; raises StorageError naming the file when missing or unreadable."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise StorageError(f'{path} does not exist; run the stage that writes it') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StorageError(f'{path} is not readable JSON ({error}); delete it and rerun') from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(path, lambda part: save_file(plain, part))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU; raises StorageError naming the file."""
    if not path.is_file():
        raise StorageError(f'{path} does not exist; run the stage that writes it')
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own Rust-side exception type
        raise StorageError(f'{path} is not a safetensors file ({error})') from None


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors and plain values) atomically with torch.save."""
    replace_file(path, lambda part: torch.save(dict(state), part))


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a training state; None when there is none yet."""
    if not path.is_file():
        return None
    remedy = 'delete it to train from the start'
    state = load_plain(path, remedy)
    if not isinstance(state, dict):
        raise StorageError(f'{path} holds no training state; {remedy}')
    return state


def load_plain(path: Path, remedy: str) -> Any:
    """Read what torch.save wrote onto the CPU, tensors and plain values only.

    Raises:
        StorageError: the file is missing, damaged or holds other objects; ends in `remedy`.
    """
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise StorageError(f'{path} does not exist; {remedy}') from None
    except Exception:  # torch raises many types for damaged archives
        # torch's own message advises to unpickle anything, which could run code from the file.
        raise StorageError(
            f'{path} is damaged or holds more than tensors and plain values; {remedy}'
        ) from None


def checkpoint_folder(folder: Path, properties: Mapping[str, Any]) -> Path:
    """Return `folder` for the checkpoints of a training, emptied if they are of others."""
    entry = Entry(folder, 'training', properties)
    if entry.why_not() is not None:
        shutil.rmtree(folder, ignore_errors=True)
        entry.record()
    return folder
