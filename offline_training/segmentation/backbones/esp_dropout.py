"""ESPDropoutNet: ESPNet with dropout, DAAIN's Monte-Carlo baseline (von Baußnern et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn

from offline_training.segmentation.backbones.espnet import ESPNet


def drop_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Pass what `module` returns through its child `dropout` (a forward hook)."""
    return module.dropout(output)  # type: ignore[operator]


class ESPDropoutNet(ESPNet):
    """ESPNet with dropout; tensors have the names of `ESPNet`, so that its checkpoints load.

    `places='regular'` drops single values behind every convolution but the last, whose outputs are
    the logits. 'custom' drops whole channels behind every ESP block of levels 2 and 3 and behind
    the first upsampling. In evaluation mode it computes what ESPNet computes; other keyword
    arguments are those of `ESPNet`.
    """

    def __init__(
        self,
        num_classes: int,
        places: Literal['regular', 'custom'] = 'regular',
        dropout: float = 0.2,
        **espnet: Any,
    ):
        super().__init__(num_classes, **espnet)
        regular = places == 'regular'
        for module in list(self._convolutions() if regular else self._chosen()):
            # A child without tensors: it is found like any dropout but adds no name to the state.
            module.dropout = nn.Dropout(dropout) if regular else nn.Dropout2d(dropout)
            module.register_forward_hook(drop_output)

    def _convolutions(self) -> Iterator[nn.Module]:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module is not self.up1:
                yield module

    def _chosen(self) -> Iterator[nn.Module]:
        yield from self.esp2
        yield from self.esp3
        yield self.up3
