"""The thresholds at which a bundle speaks of regions: a strict one, and maybe a sensitive one."""

from __future__ import annotations

from collections.abc import Mapping

from ros2_ood_monitor.bundle.manifest import Manifest
from ros2_ood_monitor.detection import Detection, Region

STRICT, SENSITIVE = 'strict', 'sensitive'


def thresholds(bundle: Manifest) -> Mapping[str, float]:
    """Return the probability thresholds of the bundle's operating points, by name."""
    rule = bundle.regions
    found = {STRICT: rule.threshold}
    if rule.sensitive_threshold is not None:
        found[SENSITIVE] = rule.sensitive_threshold
    return found


def second_thresholds(bundle: Manifest) -> Mapping[str, float]:
    """Return likewise those of a second look; empty where the bundle is not calibrated for it."""
    rule = bundle.regions.second_look
    return {} if rule is None else {STRICT: rule.threshold, SENSITIVE: rule.sensitive_threshold}


def regions_at(point: str, detection: Detection) -> tuple[Region, ...]:
    """Return the regions of one operating point."""
    return detection.regions if point == STRICT else detection.sensitive_regions or ()
