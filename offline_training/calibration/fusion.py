"""How single maps are weighted into one probability, learned from pasted objects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ros2_ood_monitor.bundle.manifest import FusedMap, Fusion
from ros2_ood_monitor.inference.fusion import STANDARD_SCORE_LIMIT

Float = NDArray[np.floating]


class CalibrationError(ValueError):
    """The detectors cannot be calibrated; the sentence says what to change."""


def fit_fusion(
    sources: Mapping[str, tuple[str, int]],
    normal: Mapping[str, Float],
    values: Mapping[str, Float],
    unknown: NDArray,
) -> Fusion:
    """Fit the logistic fusion of maps on pixels `values[name]` (N,), `unknown` (N,).

    `sources` names the maps, each with the network output and its plane that hold it on the robot.
    Standardises by `normal` pixels without any pasted object. A map that would get a negative
    weight is left out and the rest refitted: a detector must never argue an anomaly away.
    Raises CalibrationError if none is left, or if all pixels are unknown or none is.
    """
    share = float(np.mean(unknown > 0.5)) if unknown.size else 0.0
    if not 0 < share < 1:
        raise CalibrationError(
            f'{share:.0%} of the pixels that count show a pasted object, so that there is nothing '
            'to tell apart; give larger images with fewer void pixels'
        )
    names = list(sources)
    mean = [float(np.mean(normal[name])) for name in names]
    std = [max(float(np.std(normal[name])), 1e-6) for name in names]
    standard = np.stack(
        [
            np.clip((values[name] - m) / s, -STANDARD_SCORE_LIMIT, STANDARD_SCORE_LIMIT)
            for name, m, s in zip(names, mean, std, strict=True)
        ],
        axis=1,
    )
    used = list(range(len(names)))
    while True:
        model = LogisticRegression(C=1.0, max_iter=1000).fit(standard[:, used], unknown > 0.5)
        coefficients = model.coef_[0]
        if coefficients.min() >= 0 or len(used) == 1:
            break
        used.pop(int(coefficients.argmin()))
    if coefficients.max() <= 0:
        raise CalibrationError(
            f'no map of {", ".join(names)} is higher on pasted objects than elsewhere; train the '
            'observer longer (observer.epochs)'
        )
    weights = [0.0] * len(names)
    for index, weight in zip(used, coefficients, strict=True):
        weights[index] = float(weight)
    maps = tuple(
        FusedMap(name, *sources[name], *scale)
        for name, *scale in zip(names, mean, std, weights, strict=True)
    )
    return Fusion(maps, float(model.intercept_[0]))
