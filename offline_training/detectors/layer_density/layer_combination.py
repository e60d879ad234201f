"""Logistic regression over the scores of several layers, fitted without anything unknown."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn


class LayerCombination(nn.Module):
    """Layer scores (B, L) to the log odds (B,) that a frame is not normal driving.

    Lee et al. 2018, section 2.2 and "FGSM only" validation: the positives are attacked normal
    frames, the negatives clean and noisy ones. Weights are kept at zero or above: attacks may push
    a layer's score down where weather pushes it up, and with a negative weight the strangest frame
    would then be the most normal one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight: Tensor = nn.Buffer(torch.empty(0))  # (L,)
        self.bias: Tensor = nn.Buffer(torch.zeros(()))

    def fit(self, normal: Tensor, attacked: Tensor) -> None:
        """Learn from layer scores (N, L) of normal and (M, L) of attacked frames."""
        x = torch.cat([normal, attacked]).double().cpu().numpy()
        y = np.repeat([0, 1], [len(normal), len(attacked)])
        center, scale = x.mean(axis=0), x.std(axis=0)
        # A constant layer tells nothing; its weight becomes zero below.
        scale[scale == 0] = np.inf
        weight, bias = _non_negative((x - center) / scale, y)
        weight = weight / scale
        self.weight = torch.from_numpy(weight).float().to(normal.device)
        self.bias = torch.tensor(bias - weight @ center).float().to(normal.device)

    def take_mean(self, layers: int, device: torch.device) -> None:
        """Weigh all layers alike; the result are no log odds then."""
        self.weight = torch.full((layers,), 1 / layers, device=device)
        self.bias = torch.zeros((), device=device)

    def forward(self, scores: Tensor) -> Tensor:
        return scores @ self.weight + self.bias


def separation(normal: Tensor, attacked: Tensor) -> float:
    """Return the AUROC on every second frame of a combination fitted on the others.

    `normal` (N, V, L) has V views of every frame, `attacked` (N, L) one.
    """
    combination = LayerCombination()
    combination.fit(normal[::2].flatten(0, 1), attacked[::2])
    negative, positive = combination(normal[1::2].flatten(0, 1)), combination(attacked[1::2])
    truth = np.repeat([0, 1], [len(negative), len(positive)])
    return float(roc_auc_score(truth, torch.cat([negative, positive]).cpu().numpy()))


def _non_negative(x: NDArray[np.float64], y: NDArray) -> tuple[NDArray[np.float64], float]:
    """Fit, and fit again without the layers of negative weight until there is none."""
    weight = np.zeros(x.shape[1])
    used = np.arange(x.shape[1])
    while used.size:
        model = LogisticRegression(class_weight='balanced', max_iter=1000).fit(x[:, used], y)
        coefficients = model.coef_[0]
        if (coefficients >= 0).all():
            weight[used] = coefficients
            return weight, float(model.intercept_[0])
        used = used[coefficients >= 0]
    # No layer sees the attack: then none is to be preferred.
    return np.full_like(weight, 1 / len(weight)), 0.0
