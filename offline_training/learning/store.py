"""Files that are either complete or absent: JSON, safetensors and resumable checkpoints."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


class StorageError(ValueError):
    """A stored file cannot be used; the message names the file and the remedy."""


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.part')
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        # mkstemp makes the file private; results are meant to be read by others.
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    _replace(path, lambda part: part.write_text(text, encoding='utf-8'))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as it is, atomically."""
    _replace(path, lambda part: part.write_bytes(data))


def read_json(path: Path) -> Any:
    """Read a JSON file; raises StorageError naming the file when missing or unreadable."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise StorageError(f'{path} does not exist; run the stage that writes it') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StorageError(f'{path} is not readable JSON ({error}); delete it and rerun') from None


def keep_settings(path: Path, settings: Mapping[str, Any], what: str) -> None:
    """Write with which settings a folder is filled, or check that these are still the same.

    Written before anything else is, so that no result can be there without its settings.

    Raises:
        StorageError: the file holds others; the message names `what`, one of them and its values.
    """
    if not path.is_file():
        write_json(path, settings)
        return
    stored, wanted = read_json(path), json.loads(json.dumps(settings))
    for key in {**stored, **wanted}:
        if stored.get(key) != wanted.get(key):
            raise StorageError(
                f'{path.parent} holds {what} with another {key} ({stored.get(key)!r}, not '
                f'{wanted.get(key)!r}); delete this folder or choose another --output'
            )


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _replace(path, lambda part: save_file(plain, part))


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
    _replace(path, lambda part: torch.save(dict(state), part))


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a training state with weights_only=True; None when there is none yet."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many types for damaged archives
        raise StorageError(
            f'{path} cannot be read ({error}); delete it to start the stage anew'
        ) from None
    if not isinstance(state, dict):
        raise StorageError(f'{path} holds no training state; delete it to start the stage anew')
    return state
