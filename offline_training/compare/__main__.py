"""Compare all detectors on all sets, in one table and one report.

Writes table.json, table.md and report.html. What --output already holds is not
done again, so an interrupted comparison continues, and a detector or set that
was added is all that is computed.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from offline_training.compare.attack import ATTACKS
from offline_training.compare.bench import run_comparison
from offline_training.compare.config import ANOMALY_FOLDER, CompareConfig, load_compare_config
from offline_training.compare.report.markdown import table_text
from offline_training.detectors import DETECTORS
from offline_training.learning.command_line import exit_status
from offline_training.learning.machine import keep_freed_memory
from offline_training.learning.settings import ConfigError
from offline_training.perturbations import PERTURBATIONS
from offline_training.pipeline.context import SEGMENTATION_SETS

EPILOG = """\
examples:
  python -m offline_training.compare --config config/compare/camvid.yaml \\
      --data-root ../shared --output runs/compare
  # the network of a training run, and two rows only
  python -m offline_training.compare --config mine.yaml --data-root . \\
      --run runs/mine --output runs/mine_compare --detectors energy,monitor

the least that mine.yaml may say (config/compare/ has complete ones):
  name: mine
  experiment: runs/mine/config.yaml   # relative to this file
  weights: null                       # those of --run
  train: {dataset: folder, data_dir: my_data, split: train}
  val: {dataset: folder, data_dir: my_data, split: val}
  normal: {dataset: folder, data_dir: my_data, split: test}
  images:
    unknown: {dataset: anomaly_folder, data_dir: my_unknown}
  detectors: {energy: {}, monitor: {}}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.compare',
        usage='%(prog)s [options]',
        description=__doc__,
        epilog=_epilog(),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--config', type=Path, metavar='FILE', required=True, help='what is compared, see below'
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        metavar='DIR',
        required=True,
        help='folder that data sets and weights are relative to',
    )
    parser.add_argument(
        '--output', type=Path, metavar='DIR', required=True, help='folder of the results'
    )
    parser.add_argument(
        '--run',
        type=Path,
        metavar='DIR',
        help='watch the network of this training run, with its flow and observer',
    )
    parser.add_argument(
        '--detectors', metavar='NAMES', help='comma-separated rows to compare (default: all)'
    )
    options = parser.parse_args(argv)
    return exit_status(lambda: _run(options), 'interrupted; the same command continues')


def _run(options: argparse.Namespace) -> None:
    console, config = Console(stderr=True), load_compare_config(options.config)
    if options.detectors is not None:
        config = _only(config, options.detectors)
    keep_freed_memory()
    table = run_comparison(
        config, options.config.parent, options.data_root, options.output, options.run, console
    )
    sys.stdout.write(table_text(table))
    console.print(f'look at {options.output / "report.html"}')


def _epilog() -> str:
    known = {
        'detectors': DETECTORS,
        'data sets': [*SEGMENTATION_SETS, ANOMALY_FOLDER],
        'perturbations': PERTURBATIONS,
        'attacks': ATTACKS,
    }
    lists = [
        textwrap.fill(', '.join(names), 79, initial_indent='  ', subsequent_indent='  ')
        for names in known.values()
    ]
    named = '\n'.join(f'{title}:\n{text}' for title, text in zip(known, lists, strict=True))
    return f'{EPILOG}\n{named}\n'


def _only(config: CompareConfig, names: str) -> CompareConfig:
    wanted = [name.strip() for name in names.split(',') if name.strip()]
    if unknown := [name for name in wanted if name not in config.detectors]:
        raise ConfigError(
            f'--detectors names {unknown[0]!r}, but the configuration has '
            f'{", ".join(config.detectors)}'
        )
    return replace(config, detectors={name: config.detectors[name] for name in wanted})


if __name__ == '__main__':
    sys.exit(main())
