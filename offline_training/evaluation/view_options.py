"""Options of the commands that hold views, and the kinds of views that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from offline_training.evaluation.bundle_options import (
    add_bundle_arguments,
    named_folders,
    positive,
    positive_integer,
    share,
)
from offline_training.learning.progress import progress
from offline_training.measuring import views
from offline_training.measuring.image_folder import ImageFolder, spread
from offline_training.measuring.simulated_camera import Raised
from ros2_ood_monitor.inference.runner import Runner


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_bundle_arguments(parser)
    parser.add_argument(
        '--data', type=Path, metavar='DIR', required=True, help='images of normal driving'
    )
    parser.add_argument(
        '--foreign',
        metavar='NAME=DIR',
        action='append',
        default=[],
        help='images of another world; may be repeated',
    )
    parser.add_argument(
        '--severity', type=share, metavar='X', default=0.6, help='of perturbations (%(default)s)'
    )
    parser.add_argument(
        '--views',
        type=positive_integer,
        metavar='N',
        default=20,
        help='of each kind, evenly spread over the images (%(default)s)',
    )
    parser.add_argument(
        '--seconds', type=positive, metavar='S', default=2.0, help='of each view (%(default)s)'
    )
    parser.add_argument('--seed', type=int, metavar='N', default=0, help='(%(default)s)')


def hold_all(options: argparse.Namespace, runner: Runner) -> list[tuple[views.Kind, list[Raised]]]:
    """Hold the views of every kind, with a progress bar."""
    normal = spread(ImageFolder(options.data), options.views)
    foreign = {
        name: spread(images, options.views)
        for name, images in named_folders(options.foreign).items()
    }
    kinds = views.kinds(options.severity, foreign)
    found = []
    with progress(Console(stderr=True)) as bars:
        counts = [len(normal if kind.images is None else kind.images) for kind in kinds]
        task = bars.add_task('views', total=sum(counts))
        for kind in kinds:
            raised = []
            for each in views.held(runner, kind, normal, options.seconds, options.seed):
                raised.append(each)
                bars.advance(task)
            found.append((kind, raised))
    return found
