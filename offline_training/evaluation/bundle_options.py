"""Options and steps that all commands share that measure a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from offline_training.data.base import DataError
from offline_training.measuring.image_folder import ImageFolder
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.engines.selection import BACKENDS
from ros2_ood_monitor.inference.runner import Runner


def add_bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --bundle, --backend and --second-look."""
    parser.add_argument(
        '--bundle', type=Path, metavar='DIR', required=True, help='folder of the bundle'
    )
    parser.add_argument(
        '--backend',
        choices=('auto', *BACKENDS),
        default='auto',
        help='engine; auto = the fastest that is ready here (%(default)s)',
    )
    parser.add_argument(
        '--second-look',
        type=int,
        metavar='N',
        default=0,
        help='look again at a part of every N-th image, enlarged; 0 = never (%(default)s)',
    )


@contextmanager
def opened(options: argparse.Namespace, all_maps: bool = False) -> Iterator[Runner]:
    """Give the runner of the bundle that was asked for, after its self-test."""
    with Runner(
        ModelBundle.load(options.bundle),
        options.backend,
        all_maps=all_maps,
        second_look_every=options.second_look,
    ) as runner:
        runner.self_test()
        yield runner


def engine(runner: Runner) -> dict[str, str]:
    """Return what every report says of the bundle."""
    return {'bundle': runner.bundle.name, 'engine': runner.description}


def named_folders(words: Sequence[str]) -> dict[str, Sequence[UInt8Array]]:
    """Return the image folders of words NAME=FOLDER, by name.

    Raises:
        DataError: a word is no such pair, or the folder holds no images.
    """
    found: dict[str, Sequence[UInt8Array]] = {}
    for word in words:
        name, equals, folder = word.partition('=')
        if not (name and equals and folder):
            raise DataError(f'{word!r} is not NAME=FOLDER, such as kitti=../shared/kitti/drive_b')
        found[name] = ImageFolder(Path(folder))
    return found


def positive(word: str) -> float:
    """Read a number above 0; raises ValueError, which argparse turns into a sentence."""
    value = float(word)
    if not 0 < value < float('inf'):
        raise ValueError(word)
    return value


def positive_integer(word: str) -> int:
    """Read a whole number above 0; raises ValueError, as `positive`."""
    value = int(word)
    if value < 1:
        raise ValueError(word)
    return value


def share(word: str) -> float:
    """Read a number from 0 to 1; raises ValueError, as `positive`."""
    value = float(word)
    if not 0 <= value <= 1:
        raise ValueError(word)
    return value


def shown(value: float | None, digits: int = 1) -> str:
    """Return a number for a table, '-' where there is none."""
    return '-' if value is None else f'{value:.{digits}f}'


def to_error(lines: Sequence[object]) -> None:
    """Print for a person; standard output is for --json -."""
    console = Console(stderr=True)
    for line in lines:
        console.print(line)
