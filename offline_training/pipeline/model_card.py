"""MODEL_CARD.md: what a person must know before trusting a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROLES = {
    'density': 'a normalising flow (how unusual the features are)',
    'observer': 'an observer head (what is unknown, where the segmentation is wrong)',
}
"""What a person calls the network that gives a tensor."""


def model_card(manifest: Mapping[str, Any]) -> str:
    """Render the card from the manifest; every figure in it is read, none is written by hand."""
    size, channels = manifest['input'], manifest['channels']
    read = {
        each['tensor']: None
        for channel in channels.values()
        for each in channel['fusion']['maps']
        if each['weight']
    }
    watchers = ' and '.join(role for tensor, role in ROLES.items() if tensor in read)
    anomaly = manifest['metrics']['val_anomaly']
    rows = '\n'.join(
        f'| {name} | {100 * v["ap"]:.1f} | {100 * v["fpr95"]:.1f} | {100 * v["auroc"]:.1f} |'
        for name, v in anomaly['maps'].items()
    )
    classes = ', '.join(entry['name'] for entry in manifest['classes'])
    segmentation = manifest['metrics']['val_segmentation']
    alarms = '\n'.join(_channel(name, channel) for name, channel in channels.items())
    return f"""# {manifest['name']}

{manifest['backbone']['architecture']} at {size['width']}x{size['height']}, watched by
{watchers}. Made {manifest['provenance']['created']} by
ros2_ood_monitor {manifest['provenance']['package']}.

Classes: {classes}.

## Validation

Segmentation: mIoU {segmentation['miou']:.2f} ({segmentation['protocol']}).

Anomalies ({anomaly['protocol']}; {anomaly['frames']} frames), in percent:

| map | AP | FPR95 | AUROC |
|---|---|---|---|
{rows}

## Channels

Each has its own score and alarm; the monitor's state is the most severe of them. Evidence grows by
frame score minus drift, at most by a third of the threshold.

| channel | maps (weight) | drift | alarm at | asked per hour | certified per hour | from |
|---|---|---|---|---|---|---|
{alarms}

"Certified" are false alarms per hour, by the calibration sequences; more normal driving lowers
that figure.

## Limits

Calibrated on the data named in the manifest's provenance and valid for that camera, place and
weather. The observer was trained on pasted and adversarial anomalies; unknowns that look like a
known class are not found. This is a monitor, not a certified safety function.
"""


def _channel(name: str, channel: Mapping[str, Any]) -> str:
    maps = ', '.join(
        f'{each["name"]} ({each["weight"]:.2f})'
        for each in channel['fusion']['maps']
        if each['weight']
    )
    (alarm,), certificate = channel['alarms'], channel['certificate']
    return (
        f'| {name} | {maps} | {alarm["drift"]:.2f} | {alarm["threshold"]:.2f} '
        f'| {certificate["budget_per_hour"]:g} | {certificate["certified_per_hour"]:.3g} '
        f'| {certificate["sequences"]} sequences, {certificate["hours"]:.2g} h at '
        f'{certificate["frame_rate"]:g} frames per second |'
    )
