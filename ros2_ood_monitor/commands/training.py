"""The commands of a workstation: each hands over to a module of `offline_training`.

The runtime never imports that package: a new process image takes the place of this one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from ros2_ood_monitor.commands.sentence import missing_package

SUMMARIES = {
    'train': 'train a monitor on your own images and export its bundle',
    'evaluate': 'measure a network or a bundle on labelled images',
    'compare': 'compare all detectors on all sets, in a table and a report',
    'cutouts': 'make a folder of real things, for the observer to learn from',
    'attack-autoencoder': 'train and apply an autoencoder that attacks a network',
    'residual-flow-protocol': 'tell image sets apart, as Deep Residual Flow does',
}
"""What each command does; `train` runs `python -m offline_training.train`, and so on."""
NEEDED = ('torch', 'torchvision', 'jsonargparse', 'safetensors', 'onnx', 'onnxscript', 'sklearn')


class TrainingError(RuntimeError):
    """A training command cannot start; the sentence says what to install."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take all words as they are, `--help` too: they are the module's own."""
    parser.add_argument('words', nargs='*')


def execute(args: argparse.Namespace) -> int:
    """Become the module; raises TrainingError if packages are missing."""
    if find_spec('offline_training') is None:
        raise TrainingError(
            'the package offline_training is not installed here; install the whole repository, '
            "type: pip install '.[training]' in it"
        )
    for module in NEEDED:
        if find_spec(module) is None:
            raise TrainingError(missing_package(module) or module)
    command(args.command, args.words)
    return 0


def command(name: str, words: Sequence[str]) -> None:
    """Replace this process by `python -m offline_training.NAME WORDS`."""
    sys.stdout.flush()
    module = f'offline_training.{name.replace("-", "_")}'
    os.execv(sys.executable, [sys.executable, '-m', module, *words])
