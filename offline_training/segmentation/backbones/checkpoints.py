"""Load a backbone's weights: our safetensors, or a public ESPNet, ENet or torchvision file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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


def load_checkpoint(network: nn.Module, path: Path) -> None:
    """Fill `network` from `path`, strictly: every tensor present, none left over.

    `.safetensors` files are ours; others are read by torch with `weights_only=True`, under our
    names or those of sacmehta/ESPNet and davidtvs/PyTorch-ENet (2018).

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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(
            f'{path} is not a readable checkpoint ({reason}); fetch it again'
        ) from None
    if isinstance(state, dict) and isinstance(state.get('state_dict'), dict):
        state = state['state_dict']
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise StorageError(f'{path} is not a dictionary of tensors; give a state_dict')
    return dict(state)
