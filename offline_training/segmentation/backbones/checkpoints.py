"""Load a backbone's weights: our safetensors, or a public ESPNet, ENet or torchvision file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offline_training.learning.store import StorageError, read_tensors
from offline_training.segmentation.backbones import public_enet, public_espnet, public_torchvision

# Public files keep the reached mIoU as a NumPy scalar, under its module's old or new name.
_SCALAR = np.float64().__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    (_SCALAR, 'numpy.core.multiarray.scalar'),
    (_SCALAR, 'numpy._core.multiarray.scalar'),
    np.dtype,
    *{type(np.dtype(kind)) for kind in ('f4', 'f8', 'i8')},
]


WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'network')
"""Keys under which training scripts keep the tensors of the network among other things."""

PREFIXES = ('module.', '_orig_mod.', 'net.', 'network.', 'model.')
"""What DataParallel, torch.compile and wrapping modules put before every tensor's name."""

_TORCH_STARTS = (b'PK\x03\x04', b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.')
"""How files of torch.save begin: a zip archive, before torch 1.6 a pickled magic number."""


def load_checkpoint(network: nn.Module, path: Path) -> None:
    """Fill `network` from `path`, strictly: every tensor present, none left over.

    `.safetensors` files are ours; others are read by torch with `weights_only=True`, under our
    names or those of sacmehta/ESPNet and davidtvs/PyTorch-ENet (2018). The tensors may be wrapped
    in a dictionary (`WRAPPERS`) and their names may share prefixes (`PREFIXES`), in any stacking.

    Raises:
        StorageError: the file is missing, not readable, or of another architecture or class count.
    """
    _fill(network, _read(path), path)


def load_initial_weights(network: nn.Module, path: Path) -> None:
    """Fill `network` before its training: a whole checkpoint, or the encoder of a classifier.

    As `load_checkpoint`, and ImageNet classifiers of torchvision: VGG16 for SegNet's encoder,
    ResNet-50 and -101 for DeepLabV3+'s.

    Raises:
        StorageError: the file is missing, not readable, or of another architecture or class count.
    """
    state = _read(path)
    if public_torchvision.is_public(state):
        encoder = public_torchvision.from_public(state, network)
        state = {**network.state_dict(), **encoder}
    _fill(network, state, path)


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file under our names, as far as the layout is known."""
    state = read_tensors(path) if path.suffix == '.safetensors' else _read_torch(path)
    state = _without_prefixes(state)
    if public_enet.is_public(state):
        try:
            return public_enet.from_public(state)
        except ValueError as error:
            raise StorageError(f'{path}: {error}; other versions cannot be read') from None
    if public_espnet.is_public(state):
        return public_espnet.from_public(state)
    return state


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    # Checkpoints from before torch 0.4.1 do not count batches; nothing here uses the count.
    missing = [k for k in wanted if k not in state and not k.endswith('.num_batches_tracked')]
    extra = [k for k in state if k not in wanted]
    if missing or extra:
        raise StorageError(
            f'{path} does not fit {type(network).__name__}: {len(missing)} tensors are missing'
            f' and {len(extra)} are unknown (first: {(missing + extra)[0]}); '
            'set backbone.architecture to what the file was trained with'
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise StorageError(
                f'{path}: {name} has shape {tuple(tensor.shape)} but the network needs '
                f'{tuple(wanted[name].shape)}; check the classes, backbone.train_void and '
                'backbone.architecture'
            )
    network.load_state_dict(state, strict=False)


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise StorageError(
            f'{path} does not exist; check --weights and backbone.initial_weights'
        ) from None
    except Exception as error:  # torch raises many types for damaged archives
        raise StorageError(f'{path} {_why_unreadable(path, error)}') from None
    while isinstance(state, dict):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise StorageError(f'{path} is not a dictionary of tensors; give a state_dict')
    return dict(state)


def _why_unreadable(path: Path, error: Exception) -> str:
    # In our own words: torch advises to switch off what keeps a file from running code.
    with path.open('rb') as file:
        if not file.read(16).startswith(_TORCH_STARTS):
            return 'is neither a PyTorch nor a .safetensors file; fetch it again'
    if not isinstance(error, UnpicklingError):
        return 'is a damaged PyTorch file; fetch it again'
    named = re.search(r'GLOBAL ([\w.]+)', str(error))
    what = f' ({named[1]})' if named else ''
    return (
        f'holds objects other than tensors{what}, which could run code and are not loaded; '
        'where you trust it, keep only its tensors: torch.save(network.state_dict(), FILE)'
    )


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off every prefix of `PREFIXES` that all names share."""
    while state:
        first = next(iter(state))
        prefix = next((each for each in PREFIXES if first.startswith(each)), None)
        if prefix is None or not all(name.startswith(prefix) for name in state):
            break
        state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    return state
