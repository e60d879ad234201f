"""Networks in the form that a robot runs: ONNX files that feed each other by tensor name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offline_training.watched.base import Seen, Watched
from offline_training.watched.onnx_gates import (
    check_graph,
    check_parity,
    half_precision_finite,
    read_network,
)
from ros2_ood_monitor.bundle.manifest import Network

OPSET = 18
GATE_FRAMES = 16
"""Images at most that a network is exported and compared on."""

Outputs = Callable[[Seen], Mapping[str, Tensor]]
Looks = Callable[[], Iterator[Seen]]


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """An ONNX file that has passed the gates, and what they found."""

    name: str
    network: Network
    gates: Mapping[str, Any]

    def entry(self) -> dict[str, Any]:
        """Return what a bundle's list of networks says of it."""
        network = self.network
        return {
            'file': network.path.name,
            'inputs': [asdict(tensor) for tensor in network.inputs],
            'outputs': [asdict(tensor) for tensor in network.outputs],
        }


class _Graph(nn.Module):
    """A function of named tensors with positional ones, as ONNX wants them."""

    def __init__(self, owner: nn.Module, outputs: Outputs, names: Sequence[str]):
        super().__init__()
        self.owner = owner
        self.outputs = outputs
        self.names = tuple(names)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.outputs(Seen(dict(zip(self.names, tensors, strict=True)))).values())


def gate_looks(images: Tensor, look: Callable[[Tensor], Seen]) -> Looks:
    """Return what gives `look` of `GATE_FRAMES` of the images and of extreme ones, one by one."""
    chosen = torch.cat([images[:GATE_FRAMES].cpu(), extreme_images(*images.shape[1:3])])

    def looks() -> Iterator[Seen]:
        for image in chosen:
            with torch.no_grad():
                seen = look(image[None])
            yield seen

    return looks


def export_network(
    name: str, owner: nn.Module, outputs: Outputs, looks: Looks, folder: Path
) -> ExportedNetwork:
    """Write `outputs`, a function of tensors and of the weights of `owner`, to folder/NAME.onnx.

    Inputs are the tensors that the function reads.

    Raises:
        GateError: the graph is not valid, or an engine does not agree with torch on `looks`.
    """
    first = next(looks())
    with torch.no_grad():
        names = list(outputs(first))
    graph = _Graph(owner, outputs, list(first.read)).eval()
    path = folder / f'{name}.onnx'
    example = tuple(first[key].contiguous() for key in graph.names)
    with torch.no_grad():
        torch.onnx.export(
            graph,
            example,
            path,
            input_names=list(graph.names),
            output_names=names,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    gates: dict[str, Any] = {'operators': check_graph(path)}
    feeds = ({key: seen[key].contiguous().numpy() for key in graph.names} for seen in looks())
    gates['parity_error'] = check_parity(path, graph, feeds)
    if 'image' not in graph.names:
        feed = {key: value.numpy() for key, value in zip(graph.names, example, strict=True)}
        gates['float16_finite'] = half_precision_finite(graph, feed)
    return ExportedNetwork(name, read_network(path), gates)


def export_watched(
    name: str,
    watched: Watched,
    networks: Iterable[ExportedNetwork],
    images: Tensor,
    folder: Path,
    others: Iterable[str] = (),
) -> ExportedNetwork:
    """Write the watched network with `labels` and the tensors that are asked for.

    By the inputs of `networks`, and by `others`: those that channels read, of which the ones that
    a network gives are left to it.

    Raises:
        GateError: see `export_network`.
    """
    watched = copy.deepcopy(watched).cpu()
    given: dict[str, None] = {'image': None}
    wanted: dict[str, None] = {'labels': None}
    for each in networks:
        wanted |= {t.name: None for t in each.network.inputs if t.name not in given}
        given |= {t.name: None for t in each.network.outputs}
    wanted |= {key: None for key in others if key not in given}
    inner = [key for key in wanted if '/' in key]

    def outputs(seen: Seen) -> dict[str, Tensor]:
        looked = watched.look(seen['image'], inner)
        return {key: looked[key] for key in wanted}

    looks = gate_looks(images, lambda image: Seen({'image': image}))
    return export_network(name, watched, outputs, looks, folder)


def extreme_images(height: int, width: int) -> Tensor:
    """Return dark, glaring, noisy and striped images uint8 (4, H, W, 3).

    What a broken camera or an attacker may show. All carry grain: on constant and repeated pixels
    rounding decides the ties in max pooling, so that no two engines agree; no camera delivers such
    images.
    """
    rng = np.random.default_rng(0)
    shape = (1, height, width, 3)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    # Few levels would leave near-ties in pooling windows, which rounding decides.
    grain = noise // 8
    stripes = grain.copy()
    stripes[:, :, ::2] += 224
    return torch.from_numpy(np.concatenate([grain, 255 - grain, noise, stripes]))
