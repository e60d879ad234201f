"""What a monitor is worth: Safety Gain, Residual Hazard and Availability Cost.

Guerin, Ferreira, Delmas and Guiochet, Unifying Evaluation of Machine Learning Safety Monitors,
2022 (arXiv 2208.14660). With a safety return and a mission return of what the system does,
expected over the views,

    Safety Gain       = safety return with the monitor - without it
    Residual Hazard   = safety return of always doing right - with the monitor
    Availability Cost = mission return without the monitor - with it

so that Safety Gain and Residual Hazard add up to the hazard without a monitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ros2_ood_monitor.alert import State

RETURNS = (
    'safety return: 0 in a safe view; in a hazardous one -1 for driving on (NOMINAL), '
    '-(1 - c) for slowing down (CAUTION), 0 for stopping (ALERT, FAULT). '
    'Mission return: in a safe view 1 for driving on, 1 - c for slowing down, 0 for stopping; '
    'in a hazardous one 0, whatever is done. c is how far CAUTION slows down.'
)
"""The return functions in words; c is `caution` of `safety`."""


@dataclass(frozen=True)
class View:
    """One view: whether trusting the network in it is a hazard, and what the monitor said."""

    hazardous: bool
    state: State


@dataclass(frozen=True)
class Safety:
    """The three figures, each a share from 0 to 1."""

    safety_gain: float
    residual_hazard: float
    availability_cost: float


def stopping(state: State, caution: float) -> float:
    """Return how much of the driving a state takes away, 0 to 1."""
    return 1.0 if state.unsafe else caution if state == State.CAUTION else 0.0


def safety(
    views: Sequence[View], caution: float = 0.5, hazard_share: float | None = None
) -> Safety:
    """Return the figures over `views`, under the returns of `RETURNS`.

    `hazard_share` of the views are taken to be hazardous, whatever their number here; None takes
    the number as it is.

    Raises:
        ValueError: there is no view, or none of a kind that has a share.
    """
    hazardous = [stopping(view.state, caution) for view in views if view.hazardous]
    safe = [stopping(view.state, caution) for view in views if not view.hazardous]
    if not views:
        raise ValueError('there are no views')
    share = len(hazardous) / len(views) if hazard_share is None else hazard_share
    if (share > 0 and not hazardous) or (share < 1 and not safe):
        raise ValueError(f'{share:g} of the views are hazardous, but there are only the others')
    gain = share * _mean(hazardous)
    return Safety(gain, share - gain, (1 - share) * _mean(safe))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
