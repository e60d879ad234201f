r"""Compare all detectors on all sets, in one table and one report.

    python -m offline_training.compare --config config/compare/camvid.yaml \
        --data-root ../shared --output runs/compare

Writes table.json, table.md and report.html. What --output already holds is not done again, so an
interrupted comparison continues, and a detector or set that was added is all that is computed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from offline_training.compare.bench import run_comparison
from offline_training.compare.config import CompareConfig, load_compare_config
from offline_training.compare.report.markdown import table_text
from offline_training.data.base import DataError
from offline_training.learning.memory import keep_freed_memory
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import StorageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.compare',
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--config', type=Path, required=True, help='YAML file, see config/compare')
    parser.add_argument(
        '--data-root',
        type=Path,
        required=True,
        help='folder that data sets and weights are relative to',
    )
    parser.add_argument('--output', type=Path, required=True, help='folder of the results')
    parser.add_argument(
        '--run',
        type=Path,
        help='watch the network of this training run, with its flow and observer',
    )
    parser.add_argument('--detectors', help='comma-separated rows to compare (default: all)')
    options = parser.parse_args(argv)
    console = Console(stderr=True)
    try:
        config = load_compare_config(options.config)
        if options.detectors is not None:
            config = _only(config, options.detectors)
        keep_freed_memory()
        table = run_comparison(
            config, options.config.parent, options.data_root, options.output, options.run, console
        )
    except (ConfigError, DataError, StorageError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write('\ninterrupted; the same command continues\n')
        return 130
    sys.stdout.write(table_text(table))
    console.print(f'look at {options.output / "report.html"}')
    return 0


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
