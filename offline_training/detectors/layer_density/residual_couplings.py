"""RealNVP couplings for many classes at once, zero-initialised: residuals of a Gaussian.

Ev Zisselman, Aviv Tamar: "Deep Residual Flow for Out of Distribution Detection", CVPR 2020, on
Dinh, Sohl-Dickstein, Bengio: "Density estimation using Real NVP", ICLR 2017. The original builds a
network per class and layer; here all classes of a layer are one batched product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SLOPE = 0.01
"""Of the leaky ReLU for negative values."""


class ClassLinear(nn.Module):
    """One linear layer per class: (K, N, inputs) -> (K, N, outputs); zero without a generator."""

    def __init__(self, classes: int, inputs: int, outputs: int, generator: torch.Generator | None):
        super().__init__()
        weight = torch.zeros(classes, inputs, outputs)
        if generator is not None:
            bound = 1 / math.sqrt(max(inputs, 1))
            weight.uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(classes, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) + self.bias


class Subnet(nn.Module):
    """Three linear layers per class with leaky ReLU between, the last one zero at first."""

    def __init__(
        self, classes: int, inputs: int, hidden: int, outputs: int, generator: torch.Generator
    ):
        super().__init__()
        self.first = ClassLinear(classes, inputs, hidden, generator)
        self.second = ClassLinear(classes, hidden, hidden, generator)
        self.last = ClassLinear(classes, hidden, outputs, None)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = layer(x)
            # A leaky ReLU in operators that every engine has.
            x = torch.maximum(x, SLOPE * x)
        return self.last(x)


class Coupling(nn.Module):
    """Shift and scale one half of the dimensions given the other: z = (z - t) exp(-s)."""

    def __init__(self, classes: int, mask: Tensor, hidden: int, generator: torch.Generator):
        super().__init__()
        self.kept: Tensor = nn.Buffer(mask.nonzero().flatten())
        self.changed: Tensor = nn.Buffer((~mask).nonzero().flatten())
        self.order: Tensor = nn.Buffer(torch.cat([self.kept, self.changed]).argsort())
        sizes = len(self.kept), hidden, len(self.changed)
        self.log_scale = Subnet(classes, *sizes, generator)
        self.shift = Subnet(classes, *sizes, generator)
        # The paper normalises this weight; with one number per dimension that is a plain gain.
        self.gain = nn.Parameter(torch.ones(classes, 1, len(self.changed)))

    def _halves(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        kept = z.index_select(-1, self.kept)
        log_scale = self.gain * torch.tanh(self.log_scale(kept))
        return kept, z.index_select(-1, self.changed), log_scale, self.shift(kept)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (K, N, D) nearer to the Gaussian and log |det| (K, N)."""
        kept, changed, log_scale, shift = self._halves(z)
        changed = (changed - shift) * torch.exp(-log_scale)
        joined = torch.cat([kept, changed], dim=-1).index_select(-1, self.order)
        return joined, -log_scale.sum(dim=-1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return what `forward` made z of."""
        kept, changed, log_scale, shift = self._halves(z)
        changed = changed * torch.exp(log_scale) + shift
        return torch.cat([kept, changed], dim=-1).index_select(-1, self.order)


class ClassCouplings(nn.Module):
    """Pairs of couplings (right half, left half), each pair followed by a fixed permutation.

    (N, K, D), the k-th vector of class k, to z (N, K, D) and log |det| (N, K); the identity until
    trained. Every parameter has the class as its first dimension: classes do not share anything.
    """

    def __init__(
        self,
        classes: int,
        dimensions: int,
        couplings: int,
        hidden: int,
        generator: torch.Generator,
    ):
        super().__init__()
        right = torch.arange(dimensions) >= dimensions // 2
        self.couplings = nn.ModuleList(
            Coupling(classes, right if i % 2 == 0 else ~right, hidden, generator)
            for i in range(couplings)
        )
        pairs = couplings // 2
        random = torch.rand(pairs, dimensions, generator=generator)
        self.permutations: Tensor = nn.Buffer(random.argsort(dim=1))
        self.restoring: Tensor = nn.Buffer(self.permutations.argsort(dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x.transpose(0, 1)  # batched products want the class first
        log_det = torch.zeros_like(z[..., 0])
        for index, coupling in enumerate(self.couplings):
            z, step = coupling(z)
            log_det = log_det + step
            if index % 2:
                z = z.index_select(-1, self.permutations[index // 2])
        return z.transpose(0, 1), log_det.transpose(0, 1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return x with forward(x)[0] == z."""
        x = z.transpose(0, 1)
        for index in reversed(range(len(self.couplings))):
            if index % 2:
                x = x.index_select(-1, self.restoring[index // 2])
            coupling = self.couplings[index]
            assert isinstance(coupling, Coupling)
            x = coupling.inverse(x)
        return x.transpose(0, 1)
