"""`ood-monitor play`."""

from __future__ import annotations

import argparse

from ros2_ood_monitor.bus.command_line import add_bus_arguments, join, stop_on_signals

NAME = 'play'
SUMMARY = 'be a camera: publish a folder, video, bag or synthetic scenes'
DESCRIPTION = (
    'Publishes images as sensor_msgs/Image at their times. SOURCE is a folder of images, a '
    'video, a ROS 2 bag (.mcap, .db3 or its folder) or synthetic[:SEED].'
)
EXAMPLES = """\
examples:
  ood-monitor play synthetic --loop
  ood-monitor play my_images/ --rate 15
  ood-monitor play recording.mcap --topic camera/image_raw
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('source', metavar='SOURCE', help='folder, video, bag or synthetic[:SEED]')
    parser.add_argument(
        '--topic', default='image', metavar='T', help='publish on this topic (image)'
    )
    parser.add_argument(
        '--bag-topic', metavar='T', help='which images, if a bag has several topics'
    )
    parser.add_argument(
        '--rate', type=float, metavar='HZ', help="images per second (the source's own, else 30)"
    )
    parser.add_argument('--loop', action='store_true', help='begin again at the end')
    add_bus_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Publish until the source ends or Ctrl-C."""
    from rich.console import Console

    from ros2_ood_monitor.recordings.player import play
    from ros2_ood_monitor.recordings.sources import open_source

    source = open_source(args.source, args.rate, args.bag_topic)
    console = Console(highlight=False, stderr=True)
    stop = stop_on_signals()
    middleware = join(args, 'ood_player')
    try:
        with console.status(f'{source.name} -> {args.topic}') as status:

            def show(count: int) -> None:
                total = '' if source.count is None or args.loop else f' of {source.count}'
                status.update(f'{source.name} -> {args.topic}: {count}{total}')

            count = play(source, middleware, args.topic, stop, args.rate, args.loop, show)
    finally:
        middleware.close()
    console.print(f'{count} images sent')
    return 0
