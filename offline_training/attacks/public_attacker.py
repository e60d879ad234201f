"""Read the attacker of the public checkpoint `mal.pt` (shguan10/cat_coop).

The file also holds its victim, an ENet whose batch statistics drifted while it was attacked; that
one is not imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offline_training.learning.store import StorageError, load_plain

ATTACKER = ('encode.weight', 'encode.bias', 'decode.weight')
"""The attacker's tensors; the victim's begin with `bboxmodel.`."""
SCALAR_NAMES = tuple(
    f'numpy.{core}.{module}.scalar'
    for core in ('core', '_core')
    for module in ('multiarray', '_multiarray_umath')
)
"""Under which names files of different NumPy versions ask for a NumPy number."""


def read_public_attacker(path: Path) -> dict[str, Tensor]:
    """Return encode.weight, encode.bias and decode.weight of a public checkpoint.

    Raises:
        StorageError: the file is missing, not readable, or holds no attacker.
    """
    # The checkpoint stores its mIoU as a NumPy number, which torch reads only if it is allowed.
    with torch.serialization.safe_globals(_numpy_numbers()):
        stored = load_plain(path, 'give the file of an attacker, or fetch it again')
    state = stored.get('state_dict') if isinstance(stored, dict) else None
    if not isinstance(state, dict) or not all(isinstance(state.get(k), Tensor) for k in ATTACKER):
        raise StorageError(
            f'{path} holds no attacker in the layout of the public mal.pt (a state_dict with '
            f'{", ".join(ATTACKER)}); give mal.pt or a .safetensors file of ours'
        )
    return {name: state[name] for name in ATTACKER}


def _numpy_numbers() -> list[Any]:
    """Return what torch must be allowed to build to read a NumPy number."""
    rebuild = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)]
    return [*((rebuild, name) for name in SCALAR_NAMES), np.dtype, *kinds]
