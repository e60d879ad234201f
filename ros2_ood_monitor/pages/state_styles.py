"""The colours of the states on the terminal."""

from __future__ import annotations

from ros2_ood_monitor.alert import State

STYLES = {
    State.NOMINAL: 'green',
    State.CAUTION: 'yellow',
    State.INITIALIZING: 'cyan',
    State.ALERT: 'bold red',
    State.FAULT: 'bold magenta',
}
