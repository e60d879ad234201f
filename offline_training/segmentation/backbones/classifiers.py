"""Image classifiers of Deep Residual Flow (Zisselman and Tamar, CVPR 2020) for 32x32 images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models import DenseNet
from torchvision.models.resnet import BasicBlock, ResNet

from offline_training.learning.settings import ConfigError


class Classifier(nn.Module, ABC):
    """An image classifier that returns inner activations ("taps").

    Calling it maps normalised float32 (B, 3, H, W) to logits (B, C).
    """

    @abstractmethod
    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C) and the taps by name, each (B, C_i, H/s_i, W/s_i)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0]


class ResNet34(Classifier):
    """ResNet-34 (He et al. 2016) that begins at full size: 3x3 convolution, no pooling.

    Taps: `stem` and `layer1` (B, 64, H, W), `layer2` (B, 128, H/2, W/2), `layer3`
    (B, 256, H/4, W/4), `layer4` (B, 512, H/8, W/8).
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.network = ResNet(BasicBlock, [3, 4, 6, 3], num_classes)
        self.network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.network.conv1.weight, mode='fan_out', nonlinearity='relu')
        self.network.maxpool = nn.Identity()

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C) and the taps by name."""
        network = self.network
        x = network.relu(network.bn1(network.conv1(x)))
        taps = {'stem': x}
        for name in ('layer1', 'layer2', 'layer3', 'layer4'):
            taps[name] = x = network.get_submodule(name)(x)
        return network.fc(x.mean(dim=(2, 3))), taps


class DenseNetBC100(Classifier):
    """DenseNet-BC of 100 layers with growth 12 (Huang et al. 2017) that begins at full size.

    Taps: `conv1` (B, 24, H, W), `trans1` (B, 108, H/2, W/2), `trans2` (B, 150, H/4, W/4) and
    `final` (B, 342, H/4, W/4), behind the last normalisation and ReLU.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        network = DenseNet(12, (16, 16, 16), num_init_features=24, num_classes=num_classes)
        blocks = network.features
        stem = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight)
        # The paper's network for 32x32 images neither pools nor normalises at the start.
        self.stages = nn.ModuleDict(
            {
                'conv1': stem,
                'trans1': nn.Sequential(blocks.denseblock1, blocks.transition1),
                'trans2': nn.Sequential(blocks.denseblock2, blocks.transition2),
                'final': nn.Sequential(blocks.denseblock3, blocks.norm5, nn.ReLU()),
            }
        )
        self.classifier = network.classifier

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C) and the taps by name."""
        taps: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            taps[name] = x = stage(x)
        return self.classifier(x.mean(dim=(2, 3))), taps


CLASSIFIERS: dict[str, Callable[[int], Classifier]] = {
    'resnet34': ResNet34,
    'densenet_bc_100': DenseNetBC100,
}


def build_classifier(architecture: str, num_classes: int) -> Classifier:
    """Return an untrained classifier with `num_classes` outputs.

    Raises:
        ConfigError: the architecture is not known.
    """
    if architecture not in CLASSIFIERS:
        raise ConfigError(
            f'classifier {architecture!r} is not one of {", ".join(sorted(CLASSIFIERS))}; '
            'correct it'
        )
    return CLASSIFIERS[architecture](num_classes)
