"""Whether the false-alarm rate of a bundle is known, in the words that every output shares."""

from __future__ import annotations

from collections.abc import Mapping

from ros2_ood_monitor.bundle.manifest import LEAST_SEQUENCES, Certificate, Channel

CALIBRATIONS: Mapping[bool | None, str] = {None: '', True: 'certified', False: 'uncertified'}
"""What alert and diagnostics say under `calibration`; empty while no bundle is in use."""


def uncertified(channels: Mapping[str, Channel]) -> str | None:
    """Say in one sentence why the false-alarm rate of a bundle is not certified; None if it is."""
    lacking = [
        f'channel {name} {_why(channel.certificate)}'
        for name, channel in channels.items()
        if not channel.certificate.certified
    ]
    if not lacking:
        return None
    return (
        f'UNCERTIFIED, its rate of false alarms is not known: {", ".join(lacking)}; run '
        f"'ood-monitor calibrate' on {LEAST_SEQUENCES} or more sequences of normal driving"
    )


def _why(certificate: Certificate) -> str:
    if certificate.sequences is None:
        return 'does not say on how many sequences it was calibrated'
    if certificate.sequences < LEAST_SEQUENCES:
        return (
            f'was calibrated on {certificate.sequences} of the {LEAST_SEQUENCES} sequences that '
            'a rate needs'
        )
    return f'states no rate for its {certificate.sequences} sequences'
