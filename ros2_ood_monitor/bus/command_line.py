"""What the commands that talk over DDS have in common: options, joining, stopping."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from ros2_ood_monitor.printable import PrintableFormatter

if TYPE_CHECKING:
    from ros2_ood_monitor.bus.dds import DdsMiddleware


def add_bus_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where on the network the process lives."""
    parser.add_argument(
        '--domain-id', type=int, metavar='N', help='DDS domain (ROS_DOMAIN_ID, else 0)'
    )
    parser.add_argument(
        '--namespace', default='', metavar='NS', help='such as front: topics in /front/...'
    )
    parser.add_argument(
        '--network', action='store_true', help='reach other machines, not only this one'
    )


def join(args: argparse.Namespace, node_name: str) -> DdsMiddleware:
    """Join the DDS domain that the arguments name."""
    from ros2_ood_monitor.bus.dds import DdsMiddleware, loopback_from_environment

    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter('%(levelname)s: %(message)s'))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    loopback = loopback_from_environment() and not args.network
    return DdsMiddleware(node_name, args.namespace, args.domain_id, loopback)


def stop_on_signals() -> threading.Event:
    """Return an event that Ctrl-C, SIGTERM and a closed terminal set."""
    stop = threading.Event()

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, request)
    return stop
