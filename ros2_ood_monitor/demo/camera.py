"""The demo's camera process: publishes prepared images at their times, as a camera driver would.

Every image sent is reported as one JSON line on standard output (`frame`, `steady_ns`), so that
delays are counted from what was really sent.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ros2_ood_monitor.bus.command_line import stop_on_signals
from ros2_ood_monitor.bus.dds import DdsMiddleware
from ros2_ood_monitor.demo.schedule import Schedule
from ros2_ood_monitor.frame import Header, RawImage, Stamp
from ros2_ood_monitor.messages.topics import camera_output

FRAME_ID = 'camera_optical'
CAMERA = camera_output('image')


def main(argv: Sequence[str] | None = None) -> int:
    """Publish from the moment `--start-ns` on; joins in the middle if that has passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--schedule', type=Path, required=True)
    parser.add_argument('--images', type=Path, required=True)
    parser.add_argument('--start-ns', type=int, required=True, help='steady clock of image 0')
    parser.add_argument('--domain-id', type=int, required=True)
    args = parser.parse_args(argv)
    schedule = Schedule.load(args.schedule)
    images = np.load(args.images, mmap_mode='r')
    stop = stop_on_signals()
    middleware = DdsMiddleware('demo_camera', domain_id=args.domain_id)
    try:
        publish(schedule, images, args.start_ns, middleware, stop)
    finally:
        middleware.close()
    return 0


def publish(
    schedule: Schedule,
    images: np.ndarray,
    start_ns: int,
    middleware: DdsMiddleware,
    stop: threading.Event,
) -> None:
    """Send every image that is still due, each at its time, until `stop`."""
    period_ns = 1e9 / schedule.fps
    due = int((time.monotonic_ns() - start_ns) / period_ns) + 1
    first = schedule.resume(max(0, due))
    middleware.advertise(CAMERA)
    for frame in range(first, schedule.frames):
        if stop.wait(max(0.0, (start_ns + frame * period_ns - time.monotonic_ns()) / 1e9)):
            return
        image = np.ascontiguousarray(images[schedule.image(frame)])
        header = Header(Stamp.from_ns(time.time_ns()), FRAME_ID)
        height, width, channels = image.shape
        steady_ns = time.monotonic_ns()
        middleware.publish(
            CAMERA,
            RawImage(header, height, width, 'rgb8', 0, width * channels, image.reshape(-1)),
        )
        sys.stdout.write(json.dumps({'frame': frame, 'steady_ns': steady_ns}) + '\n')
        sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
