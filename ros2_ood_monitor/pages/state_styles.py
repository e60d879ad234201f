"""The colour of each state: on the terminal, on images and pages."""

from __future__ import annotations

from ros2_ood_monitor.alert import State

STYLES = {
    State.NOMINAL: 'green',
    State.CAUTION: 'yellow',
    State.INITIALIZING: 'cyan',
    State.ALERT: 'bold red',
    State.FAULT: 'bold magenta',
}
"""For rich; the terminal's own theme says which green it is."""

COLORS: dict[State, tuple[int, int, int]] = {
    State.NOMINAL: (30, 140, 60),
    State.CAUTION: (215, 140, 0),
    State.INITIALIZING: (70, 95, 140),
    State.ALERT: (205, 25, 30),
    State.FAULT: (135, 20, 135),
}
"""RGB in 0..255, dark enough for white letters on it."""
