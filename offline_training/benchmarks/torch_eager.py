"""Bare segmentation as a plain torch program; `ood-monitor bench --against torch-eager` runs it.

It first writes a line to standard output: empty when it is ready, else why it cannot run. Then it
reads images from standard input, each as height and width (uint32) and uint8 RGB (H, W, 3), and
answers each with the milliseconds from image to labels (float64); all numbers little-endian.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from offline_training.segmentation.backbones import build_backbone
from ros2_ood_monitor.bundle.model_bundle import BundleError, ModelBundle
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.preprocessing import prepare

SIZE = struct.Struct('<II')
MILLISECONDS = struct.Struct('<d')


def segmentation(directory: Path) -> Callable[[UInt8Array], UInt8Array]:
    """Return what segments an image (H, W, 3) RGB as the bundle's network would in torch.

    Weights are random: they do not change the speed. Raises BundleError, ValueError or TypeError
    for a bundle whose architecture is not of `offline_training`.
    """
    bundle = ModelBundle.load(directory)
    network = build_backbone(**bundle.backbone).eval()
    mean, std = (
        torch.tensor(bundle.normalization[key]).reshape(1, 3, 1, 1) for key in ('mean', 'std')
    )

    def segment(image: UInt8Array) -> UInt8Array:
        prepared = prepare(image, bundle.width, bundle.height, bundle.color_order)
        pixels = torch.from_numpy(prepared).permute(0, 3, 1, 2).float()
        labels = network((pixels - mean) / std).argmax(dim=1)[0]
        return np.asarray(labels.to(torch.uint8))

    return segment


def answer(
    segment: Callable[[UInt8Array], UInt8Array], requests: BinaryIO, replies: BinaryIO
) -> None:
    """Answer every image until `requests` ends."""
    with torch.inference_mode():
        while size := requests.read(SIZE.size):
            height, width = SIZE.unpack(size)
            pixels = bytearray(requests.read(height * width * 3))
            image = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            started = time.perf_counter()
            segment(image)
            replies.write(MILLISECONDS.pack((time.perf_counter() - started) * 1e3))
            replies.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until standard input ends; returns 1 if the program cannot run."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.benchmarks.torch_eager',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--bundle', type=Path, required=True, help='folder of the bundle')
    parser.add_argument('--threads', type=int, help="torch's threads (default: torch's choice)")
    options = parser.parse_args(argv)
    # What a library prints must not get between the replies.
    with os.fdopen(os.dup(sys.stdout.fileno()), 'wb') as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            segment = segmentation(options.bundle)
        except (BundleError, TypeError, ValueError) as error:
            replies.write(' '.join(str(error).split()).encode() + b'\n')
            return 1
        replies.write(b'\n')
        replies.flush()
        answer(segment, sys.stdin.buffer, replies)
    return 0


if __name__ == '__main__':
    sys.exit(main())
