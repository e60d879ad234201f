"""Labels and energy in the form that engines run well, and the taps of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.learning.store import StorageError
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE


def energy_map(logits: Tensor) -> Tensor:
    """Negated free energy -logsumexp of 4x4-averaged logits, (B, C, H, W) -> (B, 1, H/4, W/4).

    Higher = more anomalous (Liu et al., "Energy-based Out-of-distribution Detection", 2020).
    """
    pooled = F.avg_pool2d(logits, MAP_STRIDE)
    # Written with the shift spelled out: the fused operator overflows in half precision.
    peak = pooled.amax(dim=1, keepdim=True)
    return -(peak + (pooled - peak).exp().sum(dim=1, keepdim=True).log())


def label_map(logits: Tensor) -> Tensor:
    """Index of the highest logit, the first on ties: (B, C, H, W) -> int32 (B, H, W).

    A chain of comparisons, because engines compile ArgMax to a sort: a sixth of ESPNet's time in
    OpenVINO, against a hundredth for the chain.
    """
    best = logits[:, 0]
    labels = torch.zeros_like(best)
    for index in range(1, logits.shape[1]):
        challenger = logits[:, index]
        labels = torch.where(challenger > best, torch.full_like(best, index), labels)
        best = torch.maximum(best, challenger)
    return labels.to(torch.int32)


def tap_shapes(backbone: nn.Module, height: int, width: int) -> dict[str, tuple[int, int]]:
    """Return channels and stride of every tap of `backbone` for an input of this size."""
    device = next(backbone.parameters()).device
    # Networks round what they cannot halve; at whole 64ths the quotient is the stride.
    rows, columns = (-(-side // 64) * 64 for side in (height, width))
    with torch.inference_mode():
        _, taps = backbone.features(  # type: ignore[operator]
            torch.zeros(1, 3, rows, columns, device=device)
        )
    return {name: (tap.shape[1], round(columns / tap.shape[-1])) for name, tap in taps.items()}


def chosen_taps(
    shapes: Mapping[str, tuple[int, int]], names: Sequence[str], setting: str
) -> dict[str, tuple[int, int]]:
    """Return the shapes of the taps `names`; StorageError names the `setting` that is wrong."""
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise StorageError(
            f'{setting} names {", ".join(unknown)} but the backbone has {", ".join(shapes)}; '
            'correct the configuration'
        )
    return {name: shapes[name] for name in names}
