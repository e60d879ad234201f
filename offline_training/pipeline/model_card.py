"""MODEL_CARD.md: what a person must know before trusting a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(manifest: Mapping[str, Any]) -> str:
    """Render the card from the manifest; every figure in it is read, none is written by hand."""
    size, channel = manifest['input'], manifest['channels']['object']
    (alarm,), certificate = channel['alarms'], channel['certificate']
    anomaly = manifest['metrics']['val_anomaly']
    rows = '\n'.join(
        f'| {name} | {100 * v["ap"]:.1f} | {100 * v["fpr95"]:.1f} | {100 * v["auroc"]:.1f} |'
        for name, v in anomaly['maps'].items()
    )
    classes = ', '.join(entry['name'] for entry in manifest['classes'])
    segmentation = manifest['metrics']['val_segmentation']
    return f"""# {manifest['name']}

{manifest['backbone']['architecture']} at {size['width']}x{size['height']}, watched by a
normalising flow and an observer head. Made {manifest['provenance']['created']} by
ros2_ood_monitor {manifest['provenance']['package']}.

Classes: {classes}.

## Validation

Segmentation: mIoU {segmentation['miou']:.2f} ({segmentation['protocol']}).

Anomalies ({anomaly['protocol']}; {anomaly['frames']} frames), in percent:

| map | AP | FPR95 | AUROC |
|---|---|---|---|
{rows}

## Alarm rule

Evidence grows by frame score minus {alarm['drift']:g}, at most by a third of the threshold; the
alarm fires at
{alarm['threshold']:.2f}. Asked for: {certificate['budget_per_hour']:g} false alarms per hour at
{certificate['frame_rate']:g} frames per second. Certified by the calibration drives:
{certificate['certified_per_hour']:.3g} per hour. More normal driving lowers that figure.

## Limits

Calibrated on the data named in the manifest's provenance and valid for that camera, place and
weather. The observer was trained on pasted and adversarial anomalies; unknowns that look like a
known class are not found. This is a monitor, not a certified safety function.
"""
