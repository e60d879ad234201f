"""The malicious autoencoder: a small network that redraws a frame so that the victim misreads it.

One strided convolution and one transposed convolution, without non-linearity, clamped to the pixel
range. Unlike a gradient attack it needs no pass of the victim once it is trained, so it attacks
unseen frames at frame rate. Images are float32 (B, 3, H, W) in 0..255, before normalisation, as in
all attacks here. A file of an attacker is for RGB images; for a victim that reads BGR, see
`channels_reversed`.

Source: shguan10/cat_coop, 2019 ("Malicious Autoencoder" on ENet); method section of its README.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.learning.store import StorageError, load_plain, read_tensors

OPSET = 18
PATCH = 2
"""The stride: one code holds 2x2 pixels."""
ATTACKER = ('encode.weight', 'encode.bias', 'decode.weight')
"""The attacker's tensors; the victim's begin with `bboxmodel.`."""
SCALAR_NAMES = tuple(
    f'numpy.{core}.{module}.scalar'
    for core in ('core', '_core')
    for module in ('multiarray', '_multiarray_umath')
)
"""Under which names files of different NumPy versions ask for a NumPy number."""


class MaliciousAutoencoder(nn.Module):
    """Conv2d(3 -> width, 3x3, stride 2), ConvTranspose2d(width -> 3, 3x3, stride 2), clamp.

    Maps images float32 (B, 3, H, W) in 0..255 to images of the same shape and range; inside it
    works on 0..1. `width` 8 (440 parameters) is the original; from 12 on the code can hold the
    whole image.

    Raises:
        ValueError: width is below 1.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f'width is {width} but must be at least 1; the original has 8')
        self.encode = nn.Conv2d(3, width, 3, stride=PATCH, padding=1)
        self.decode = nn.ConvTranspose2d(
            width, 3, 3, stride=PATCH, padding=1, output_padding=1, bias=False
        )

    @property
    def width(self) -> int:
        """Channels of the code."""
        return self.encode.out_channels

    def forward(self, images: Tensor) -> Tensor:
        redrawn = self.decode(self.encode(images / 255))
        # Of an odd side the code covers one pixel more.
        return 255 * redrawn[..., : images.shape[-2], : images.shape[-1]].clamp(0, 1)

    @torch.no_grad()
    def start_from_principal_components(self, images: Tensor) -> None:
        """Set the weights so that the attacker changes images (B, 3, H, W) as little as it can.

        The code becomes the `width` strongest principal components of the 2x2 patches (about zero,
        for the decoder has no bias). From random weights, the first half of the training would
        only learn to copy.
        """
        patches = F.unfold(images / 255, PATCH, stride=PATCH)
        patches = patches.transpose(1, 2).reshape(-1, 3 * PATCH**2).double()
        _, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        components = vectors.flip(1)[:, : self.width].T.reshape(-1, 3, PATCH, PATCH)
        # An eigenvector's sign is arbitrary and differs between machines.
        components = components * components.sum(dim=(1, 2, 3), keepdim=True).sign()
        for weight in (self.encode.weight, self.decode.weight):
            weight.zero_()
            # Rows and columns 1 and 2 of the kernel lie on the patch, 0 before it.
            weight[: len(components), :, 1:, 1:] = components.to(weight)
        assert self.encode.bias is not None
        self.encode.bias.zero_()


def squared_change(attacked: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared change per image (B,), in squared grey levels."""
    return (attacked - images).square().flatten(1).mean(dim=1)


def psnr(squared_error: float) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean squared change; infinite for none."""
    return 10 * math.log10(255**2 / squared_error) if squared_error > 0 else math.inf


def squared_change_at(psnr_db: float) -> float:
    """Return the mean squared change, in squared grey levels, that has this PSNR in dB."""
    return float(255**2 / 10 ** (psnr_db / 10))


def channels_reversed(attacker: MaliciousAutoencoder) -> MaliciousAutoencoder:
    """Return the exact equivalent for BGR images of an attacker for RGB ones."""
    twin = copy.deepcopy(attacker)
    with torch.no_grad():
        for weight in (twin.encode.weight, twin.decode.weight):
            weight.copy_(weight.flip(1))
    return twin


def in_color_order(attacker: MaliciousAutoencoder, color_order: str) -> MaliciousAutoencoder:
    """Turn an attacker for RGB into one for the colour order `rgb` or `bgr`, or back."""
    return channels_reversed(attacker) if color_order == 'bgr' else attacker


def load_attacker(path: Path) -> MaliciousAutoencoder:
    """Read an attacker for RGB images: safetensors of its state or a public checkpoint.

    It is frozen and in evaluation mode.

    Raises:
        StorageError: the file is missing, not readable or holds no attacker.
    """
    state = read_tensors(path) if path.suffix == '.safetensors' else read_public_attacker(path)
    encoder = state.get('encode.weight')
    if encoder is None or encoder.ndim != 4:
        raise StorageError(f'{path} holds no malicious autoencoder; train one and give its file')
    attacker = MaliciousAutoencoder(encoder.shape[0])
    try:
        attacker.load_state_dict(state)
    except RuntimeError:
        raise StorageError(
            f'{path} does not fit the malicious autoencoder of width {encoder.shape[0]}; train '
            'one and give its file'
        ) from None
    return attacker.eval().requires_grad_(False)


def read_public_attacker(path: Path) -> dict[str, Tensor]:
    """Return the attacker's tensors of the public checkpoint `mal.pt` (shguan10/cat_coop).

    The file also holds its victim, an ENet whose batch statistics drifted while it was attacked;
    that one is not imported.

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


def export_attacker(path: Path, attacker: MaliciousAutoencoder, height: int, width: int) -> None:
    """Write the attacker as ONNX: `image` float32 (1, 3, height, width) in 0..255 -> `attacked`.

    Raises:
        GateError: an operator is not allowed or ONNX Runtime computes something else than torch.
    """
    # Imported here: ONNX Runtime takes a second to import, and only this function needs it.
    from offline_training.watched.onnx_gates import check_graph, check_parity

    graph = copy.deepcopy(attacker).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    image = 255 * torch.rand(1, 3, height, width, generator=generator)
    # The file gets its name only after it has passed.
    part = path.with_name(f'.{path.stem}.part.onnx')
    try:
        torch.onnx.export(
            graph,
            (image,),
            part,
            input_names=['image'],
            output_names=['attacked'],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        check_graph(part)
        check_parity(part, graph, [{'image': image.numpy()}])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
