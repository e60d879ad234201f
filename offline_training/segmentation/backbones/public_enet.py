"""Read the public 2018 ENet checkpoint (davidtvs/PyTorch-ENet, `ENet_default`) into our ENet."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

PARTS = {
    'ext_conv1': 'reduce',
    'ext_conv2': 'middle',
    'ext_conv3': 'expand',
    'main_conv1': 'main',
    'out_prelu': 'activation',
}
OUTER = {
    'initial_block.main_branch.': 'initial.conv.',
    'initial_block.batch_norm.': 'initial.norm.',
    'initial_block.out_prelu.': 'initial.activation.',
    'transposed_conv.': 'classifier.',
}
# Stages 1, 2, 4 and 5 begin with a block that changes the resolution; stage 3 does not.
CHANGES = {'1': 'down1', '2': 'down2', '4': 'up4', '5': 'up5'}
BLOCK = re.compile(r'(?:downsample|regular|dilated|asymmetric|upsample)(\d)_(\d)\.(\w+)(\..+)')


def is_public(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the tensor names are those of the public checkpoint."""
    return 'initial_block.main_branch.weight' in state


def from_public(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a public state dictionary.

    Raises:
        ValueError: a tensor has a name that the 2018 layout does not know.
    """
    return {_rename(key): value for key, value in state.items()}


def _rename(key: str) -> str:
    for theirs, ours in OUTER.items():
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    match = BLOCK.fullmatch(key)
    if match is None or match[3] not in PARTS:
        raise ValueError(f'tensor {key!r} is not part of the 2018 ENet layout')
    stage, index, part, rest = match.groups()
    if stage == '3':
        block = f'stage3.{index}'
    else:
        block = CHANGES[stage] if index == '0' else f'stage{stage}.{int(index) - 1}'
    return f'{block}.{PARTS[part]}{rest}'
