"""Fill an encoder with the ImageNet weights of torchvision's VGG16, ResNet-50 or ResNet-101.

The files are the user's own; nothing here fetches them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from offline_training.segmentation.backbones.segnet import SegNet


def is_public(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the tensor names are those of a torchvision VGG or ResNet classifier."""
    return 'features.0.weight' in state or 'layer1.0.conv1.weight' in state


def from_public(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the convolutions of a classifier under the names of the encoder of `network`.

    A VGG16 with or without batch normalisation fills SegNet's, a ResNet DeepLabV3+'s.
    """
    if 'layer1.0.conv1.weight' in state:
        return {f'resnet.{k}': v for k, v in state.items() if not k.startswith('fc.')}
    if not isinstance(network, SegNet):
        return dict(state)
    layers: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in state.items():
        part, index, suffix = [*name.split('.'), ''][:3]
        if part == 'features':
            layers[int(index)][suffix] = tensor
    kinds: tuple[type[nn.Module], ...] = (nn.Conv2d,)
    if any('running_mean' in tensors for tensors in layers.values()):
        kinds = (nn.Conv2d, nn.BatchNorm2d)
    # Both networks hold the thirteen convolutions in the same order.
    ours = [n for n, module in network.encoder.named_modules() if isinstance(module, kinds)]
    theirs = [layers[index] for index in sorted(layers)]
    return {
        f'encoder.{name}.{suffix}': tensor
        for name, tensors in zip(ours, theirs, strict=False)
        for suffix, tensor in tensors.items()
    }
