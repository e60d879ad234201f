"""From fused maps and network outputs to one score per channel; higher = more anomalous."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, Channel
from ros2_ood_monitor.detection import ChannelScore
from ros2_ood_monitor.frame import Float32Array
from ros2_ood_monitor.inference.fusion import frame_score, frame_statistic, tail_scale


def raw_statistics(
    channels: Mapping[str, Channel],
    logits: Mapping[str, Float32Array],
    outputs: Mapping[str, object],
) -> dict[str, float]:
    """Return every statistic of a frame by the names of `bundle.manifest.statistic_names`.

    `logits` hold the fused map (H/4, W/4) of each channel that has a fusion, `outputs` the
    networks' tensors. Raises ValueError if a statistic is NaN or infinite.
    """
    found = {
        name: frame_statistic(logits[name], channel.frame_score.top_fraction)
        for name, channel in channels.items()
        if channel.frame_score is not None
    }
    for name, channel in channels.items():
        for each in channel.statistics:
            if each.tensor is None:
                value = found[DEFAULT_CHANNEL]
            else:
                value = float(np.ravel(np.asarray(outputs[each.tensor]))[each.index])
            found[f'{name}.{each.name}'] = each.sign * value
    for statistic, value in found.items():
        if not np.isfinite(value):
            raise ValueError(f'the statistic {statistic} is {value}; check image and networks')
    return found


class ChannelScorer:
    """Conformal scores against the reference samples of a bundle's channels."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._samples = {
            name: {each: (sample, tail_scale(sample)) for each, sample in _samples(name, channel)}
            for name, channel in channels.items()
        }

    def scores(self, statistics: Mapping[str, float]) -> dict[str, ChannelScore]:
        """Return for each channel the highest score among its `statistics`."""
        return {
            name: max(
                (
                    ChannelScore(statistics[each], frame_score(statistics[each], sample, scale))
                    for each, (sample, scale) in samples.items()
                ),
                key=lambda scored: scored.score,
            )
            for name, samples in self._samples.items()
        }


def _samples(name: str, channel: Channel) -> list[tuple[str, np.ndarray]]:
    own = [] if channel.frame_score is None else [(name, channel.frame_score.reference)]
    own += [(f'{name}.{each.name}', each.reference) for each in channel.statistics]
    return [(each, np.array(reference)) for each, reference in own]
