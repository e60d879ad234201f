"""One image shown for a while: how a monitor decides about a view, without a video of it."""

from __future__ import annotations

import numpy as np

from offline_training.measuring.simulated_camera import (
    Raised,
    Remembering,
    SimulatedCamera,
    frame_rate,
)
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.runner import Runner

SENSOR_NOISE = 1.0
"""Standard deviation in grey levels."""
COPIES = 4
"""Different images of one view; they take turns, and each is scored once."""
HOLDING = (
    f'a view = one image repeated at the frame rate, {COPIES} copies in turn: itself and copies '
    f'with sensor noise of {SENSOR_NOISE:g} grey level, so that the camera is not frozen'
)


def hold(
    runner: Runner, image: UInt8Array, seconds: float, seed: int, until_alarm: bool = False
) -> Raised:
    """Show one image, uint8 RGB (H, W, 3), for `seconds`; return what the monitor published.

    `until_alarm` ends it when the state is not NOMINAL: who asks only whether and when, need not
    wait.
    """
    fps = frame_rate(runner)
    camera = SimulatedCamera(Remembering(runner), fps)
    rng = np.random.default_rng(seed)
    copies = [image]
    for number in range(max(1, round(seconds * fps))):
        if number and len(copies) < COPIES:
            copies.append(noisy(image, rng))
        if camera.show(copies[number % COPIES]) != State.NOMINAL and until_alarm:
            break
    return camera.raised


def noisy(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return a copy with the sensor's noise; a grey image stays grey."""
    grey = bool((image == image[..., :1]).all())
    shape = (*image.shape[:2], 1) if grey else image.shape
    noise = rng.normal(0, SENSOR_NOISE, shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
