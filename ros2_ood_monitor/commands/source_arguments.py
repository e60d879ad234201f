"""Options of the commands that score recordings."""

from __future__ import annotations

import argparse

BACKENDS = ('auto', 'openvino', 'onnxruntime', 'tensorrt')
"""Listed here too: --help must not wait for NumPy, which the engines import."""


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --backend, --bag-topic and --rate."""
    parser.add_argument(
        '--backend',
        default='auto',
        choices=BACKENDS,
        help='engine (auto = the fastest that is ready here)',
    )
    parser.add_argument(
        '--bag-topic', metavar='T', help='which images, if a bag has several topics'
    )
    parser.add_argument(
        '--rate', type=float, metavar='HZ', help="images per second (the source's own, else 30)"
    )
