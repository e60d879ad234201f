"""What an amount of normal driving can certify, and how much more the asked rate needs."""

from __future__ import annotations

from ros2_ood_monitor.bundle.manifest import LEAST_SEQUENCES


def certifiable_per_hour(sequences: int, hours: float) -> float | None:
    """Return the lowest false-alarm rate that normal driving can certify; None if none at all.

    Below one alarm in all the driving there is nothing to count. Fewer than `LEAST_SEQUENCES`
    sequences do not show how much sequences differ.
    """
    if sequences < LEAST_SEQUENCES or hours <= 0:
        return None
    return 1 / hours


def certifying_sentence(sequences: int, hours: float, asked_per_hour: float) -> str:
    """Say what the driving can certify and how much more of it the asked rate needs."""
    have = f'{sequences} normal sequence{"" if sequences == 1 else "s"} of {hours:.2g} h together'
    lowest = certifiable_per_hour(sequences, hours)
    if lowest is not None and lowest <= asked_per_hour:
        return f'{have} can certify the asked {asked_per_hour:g} false alarms per hour'
    missing = []
    if sequences < LEAST_SEQUENCES:
        missing.append(f'{LEAST_SEQUENCES - sequences} more sequences')
    if hours < 1 / asked_per_hour:
        missing.append(f'{1 / asked_per_hour - hours:.2g} h more of driving')
    best = 'nothing' if lowest is None else f'at best {lowest:.3g} false alarms per hour'
    return f'{have} certify {best}; the asked {asked_per_hour:g} need {" and ".join(missing)}'
