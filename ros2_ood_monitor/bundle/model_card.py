"""MODEL_CARD.md: what a person must know before trusting a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROLES = {
    'energy': 'the energy of its own logits',
    'density': 'a normalising flow: how unusual are the features of a place',
    'observer': 'an observer head: what is unknown, and where is the segmentation wrong',
    'image_statistics': 'an image channel: is the whole image like those of the calibration',
}
"""What a person calls that which gives a tensor."""


def model_card(manifest: Mapping[str, Any]) -> str:
    """Render the card from the manifest; every figure in it is read, none is written by hand."""
    size, channels = manifest['input'], manifest['channels']
    weighted = [each for channel in channels.values() for each in _weighted(channel)]
    statistics = [each for c in channels.values() for each in c.get('statistics', ())]
    read = {each['tensor'] for each in (*weighted, *statistics)}
    watchers = '\n'.join(f'- {role}' for tensor, role in ROLES.items() if tensor in read)
    measured = {'fused', *(each['name'] for each in weighted)}
    anomaly = manifest['metrics']['val_anomaly']
    rows = '\n'.join(
        f'| {name} | {100 * v["ap"]:.1f} | {100 * v["fpr95"]:.1f} | {100 * v["auroc"]:.1f} |'
        for name, v in anomaly['maps'].items()
        if name in measured
    )
    classes = ', '.join(entry['name'] for entry in manifest['classes'])
    segmentation = manifest['metrics']['val_segmentation']
    alarms = '\n'.join(_channel(name, channel) for name, channel in channels.items())
    return f"""# {manifest['name']}

{manifest['backbone']['architecture']} at {size['width']}x{size['height']}, made
{manifest['provenance']['created']} by ros2_ood_monitor {manifest['provenance']['package']}.
It is watched by:

{watchers}

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

| channel | reads (weight) | alarms at (drift) | asked per hour | certified per hour | from |
|---|---|---|---|---|---|
{alarms}

"Certified" are false alarms per hour, by the calibration sequences; more normal driving lowers
that figure. Fewer than five sequences certify nothing, as frames of one sequence resemble each
other.
{_cannot_see(manifest.get('cannot_see', ()))}
## Limits

Calibrated on the data named in the manifest's provenance and valid for that camera, place and
weather. The observer was trained on pasted and adversarial anomalies; unknowns that look like a
known class are not found. This is a monitor, not a certified safety function.
"""


def _channel(name: str, channel: Mapping[str, Any]) -> str:
    reads = [f'{each["name"]} ({each["weight"]:.2f})' for each in _weighted(channel)]
    reads += [each['name'] for each in channel.get('statistics', ())]
    rules = ', '.join(
        f'{alarm["threshold"]:.2f} ({alarm["drift"]:.2f})' for alarm in channel['alarms']
    )
    certificate = channel['certificate']
    certified = certificate['certified_per_hour']
    return (
        f'| {name} | {", ".join(reads)} | {rules} | {certificate["budget_per_hour"]:.3g} '
        f'| {"UNCERTIFIED" if certified is None else format(certified, ".3g")} '
        f'| {certificate["sequences"]} sequences, {certificate["hours"]:.2g} h at '
        f'{certificate["frame_rate"]:g} frames per second |'
    )


def _cannot_see(rows: Sequence[Mapping[str, Any]]) -> str:
    """Render the table of what the exported bundle saw of what nothing in it has learned from."""
    if not rows:
        return ''
    lines = '\n'.join(
        f'| {row["kind"]} | {row["what"]} | {_or_dash(row["severity_or_distance"])} '
        f'| {_or_dash(row["seen_share"], 100)} '
        f'| {_or_dash(row["delay_s"])} | {_or_dash(row["false_alarms"])} |'
        for row in rows
    )
    return f"""
## What it cannot see

Views held for 2 s, scored by the exported networks and decided on as by the monitor: per cent that
left NOMINAL, after how long, and alarms where there was nothing to see. Perturbations with their
severity from 0 to 1, objects with their distance in metres. Seeds, textures and outlines are none
that anything here has learned from; the normal images are of the validation split.

| kind | what | at | seen % | delay s | false alarms |
|---|---|---|---|---|---|
{lines}
"""


def _or_dash(value: float | None, factor: int = 1) -> str:
    return '-' if value is None else f'{factor * value:.3g}'


def _weighted(channel: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fusion = channel['fusion']
    return [each for each in fusion['maps'] if each['weight']] if fusion else []
