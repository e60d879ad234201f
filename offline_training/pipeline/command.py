"""The command line of a training: its options, and what is done with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from offline_training.learning import ranks
from offline_training.learning.machine import keep_freed_memory, use_idle_cores
from offline_training.learning.metrics import require_tensorboard
from offline_training.learning.settings_text import commented_yaml, help_text
from offline_training.learning.store import write_text
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import Context, choose_device
from offline_training.pipeline.normal_sequences import normal_material
from offline_training.pipeline.refusals import refuse, refuse_stages
from offline_training.pipeline.running import STAGES, run_stages
from ros2_ood_monitor.bundle.manifest import LEAST_SEQUENCES
from ros2_ood_monitor.calibration.certifying import certifying_sentence


def train(argv: Sequence[str] | None, description: str) -> None:
    """Do what the words `argv` of the command line ask for; `description` is for `--help`.

    Raises:
        ConfigError, DataError, StorageError: a mistake of the user.
        KeyboardInterrupt: after Ctrl-C, when all is saved.
    """
    options, overrides = _arguments(argv, description)
    if options.data_dir is not None:
        overrides += ['--data.data_dir', options.data_dir]
    if options.weights is not None:
        overrides += ['--backbone.weights', options.weights]
    stages = [name.strip() for name in options.stages.split(',') if name.strip()]
    config = load_config(options.config, overrides)
    refuse_stages(stages)
    if options.print_config:
        sys.stdout.write(commented_yaml(config))
        return
    keep_freed_memory()
    use_idle_cores(config.threads)
    output = options.output or Path('runs') / config.name
    metrics = None if options.logger == 'none' else output / 'metrics'
    if metrics is not None:
        require_tensorboard()
    with ranks.together():
        context = Context(config, output, choose_device(config.device), log_dir=metrics)
        refuse(context, stages, options.resume)
        if ranks.rank() == 0:
            write_text(output / 'config.yaml', commented_yaml(config))
            if 'calibrate' in stages:
                context.console.print(f'[bold]{_what_it_can_certify(context)}')
        run_stages(context, stages, options.resume)


def _what_it_can_certify(context: Context) -> str:
    """Say it before hours of training, not after them."""
    sequences, hours = normal_material(context)
    told = certifying_sentence(sequences, hours, context.config.calibration.budget_per_hour)
    return told if sequences >= LEAST_SEQUENCES else f'UNCERTIFIED: {told}'


def _arguments(
    argv: Sequence[str] | None, description: str
) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.train',
        usage='%(prog)s [options] [--KEY VALUE ...]',
        description=description,
        epilog=f'keys, in a file given by --config or as options:\n\n{help_text(Config)}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('--config', type=Path, help='YAML file of keys')
    parser.add_argument('--data-dir', help='folder of the data set')
    parser.add_argument('--weights', help='a finished backbone checkpoint, used frozen')
    parser.add_argument('--output', type=Path, help='result folder (default: runs/NAME)')
    parser.add_argument(
        '--stages',
        default=','.join(STAGES),
        help=f'comma-separated subset of {",".join(STAGES)} (default: all)',
    )
    parser.add_argument('--resume', action='store_true', help='skip finished stages, continue')
    parser.add_argument(
        '--logger',
        choices=('none', 'tensorboard'),
        default='none',
        help='write metrics to OUTPUT/metrics (default: %(default)s)',
    )
    parser.add_argument(
        '--print-config', action='store_true', help='print all keys as commented YAML'
    )
    return parser.parse_known_args(argv)
