"""Names of the public ESPNet checkpoints (sacmehta/ESPNet, `pretrained/decoder`) in our ESPNet."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Applied in order, each to the result of the one before. BN and PReLU are one `norm_act` here.
RULES = (
    # Inside ESP blocks: the reduction, the dilated branches, the closing BN and PReLU.
    (r'\.c1\.conv\.', '.reduce.'),
    (r'\.d1\.conv\.', '.branches.0.'),
    (r'\.d2\.conv\.', '.branches.1.'),
    (r'\.d4\.conv\.', '.branches.2.'),
    (r'\.d8\.conv\.', '.branches.3.'),
    (r'\.d16\.conv\.', '.branches.4.'),
    (r'^(encoder\.level\d_0)\.(bn|act)\.', r'\1.norm_act.\2.'),
    (r'^(encoder\.level\d\.\d|combine_l2_l3\.1)\.bn\.(bn|act)\.', r'\1.norm_act.\2.'),
    (r'^(encoder\.level1|conv)\.conv\.', r'\1.0.'),
    (r'^(encoder\.level1|conv)\.(bn|act)\.', r'\1.1.\2.'),
    (r'\.bn\.', '.0.'),
    (r'\.act\.', '.1.'),
    (r'\.conv\.', '.'),
    # The parts of the network.
    (r'^encoder\.level1\.', 'stem.'),
    (r'^encoder\.b(\d)\.', r'level\1.'),
    (r'^encoder\.level(\d)_0\.', r'down\1.'),
    (r'^encoder\.level(\d)\.', r'esp\1.'),
    (r'^encoder\.classifier\.', 'classify3.0.'),
    (r'^classifier\.', 'up1.'),
    (r'^br\.', 'classify3.1.'),
    (r'^level3_C\.', 'classify2.'),
    (r'^up_l3\.0\.', 'up3.'),
    (r'^up_l2\.', 'up2.'),
    (r'^combine_l2_l3\.', 'combine2.'),
    (r'^conv\.', 'decoder.'),
)


def is_public(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the tensor names are those of the public checkpoints."""
    return 'encoder.level1.conv.weight' in state


def from_public(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a public checkpoint under the names of `ESPNet`."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in RULES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
