r"""Train a model bundle: backbone, flow, observer, calibrate, evaluate, export.

    python -m offline_training.train                       # the synthetic experiment
    python -m offline_training.train --config config/training/camvid_espnet.yaml \
        --data-dir ../shared/camvid --weights ESPNET.pth --output runs/camvid

Every key of the configuration is also an option: `--backbone.epochs 20`. An interrupted run is
continued with `--resume`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from offline_training.calibration.calibration import CalibrationError
from offline_training.data.base import DataError
from offline_training.learning.memory import keep_freed_memory
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import StorageError, read_json, write_json
from offline_training.pipeline.config import Config, to_dict
from offline_training.pipeline.config_file import load_config, to_yaml
from offline_training.pipeline.context import Context, choose_device
from offline_training.segmentation.backbones import build_backbone
from offline_training.watched.onnx_gates import GateError

STAGES: dict[str, tuple[str, ...]] = {
    'backbone': ('data', 'input', 'backbone'),
    'flow': ('flow',),
    'observer': ('observer',),
    'calibrate': ('calibration',),
    'evaluate': (),
    'export': ('name', 'export'),
}
"""Stages in order, each with the configuration sections it adds to those of its predecessors."""
USER_ERRORS = (
    CalibrationError,
    ConfigError,
    DataError,
    GateError,
    StorageError,
    FloatingPointError,
)


def stage_inputs(config: Config) -> dict[str, str]:
    """Return for every stage a hash of all that its result depends on."""
    values = to_dict(config)
    del values['data']['cache']  # where images are kept does not change them
    hashes: dict[str, str] = {}
    digest = hashlib.sha256()
    for stage, sections in STAGES.items():
        part = {section: values[section] for section in sections}
        digest.update(json.dumps(part, sort_keys=True).encode())
        if stage == 'backbone':
            for weights in (config.backbone.weights, config.backbone.initial_weights):
                if weights is not None and Path(weights).is_file():
                    digest.update(hashlib.sha256(Path(weights).read_bytes()).digest())
        hashes[stage] = digest.hexdigest()
    return hashes


def run_stages(context: Context, stages: Sequence[str], resume: bool) -> None:
    """Run stages in order; with `resume`, skip finished ones and continue interrupted ones.

    Raises:
        ConfigError: a stage is asked for whose predecessor has not finished.
    """
    hashes = stage_inputs(context.config)
    for stage in [name for name in STAGES if name in stages]:
        mark = context.output_dir / 'stages' / f'{stage}.json'
        state = _read_mark(mark)
        same = resume and state.get('inputs') == hashes[stage]
        if same and state.get('finished'):
            context.console.print(f'{stage}: finished before, skipped')
            continue
        _require_predecessor(context, stage)
        if not same:
            if resume and state:
                context.console.print(f'{stage}: its configuration changed, starting anew')
            (context.output_dir / 'checkpoints' / f'{stage}.pt').unlink(missing_ok=True)
        write_json(mark, {'inputs': hashes[stage], 'finished': False})
        context.console.rule(stage)
        began = time.monotonic()
        module = importlib.import_module(f'offline_training.pipeline.stages.{stage}')
        module.run(context)
        seconds = time.monotonic() - began
        write_json(mark, {'inputs': hashes[stage], 'finished': True, 'seconds': round(seconds, 1)})
        context.console.print(f'{stage}: done in {seconds:.0f} s')


def _read_mark(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _require_predecessor(context: Context, stage: str) -> None:
    order = list(STAGES)
    for earlier in order[: order.index(stage)]:
        if not _read_mark(context.output_dir / 'stages' / f'{earlier}.json').get('finished'):
            raise ConfigError(
                f'stage {stage!r} needs stage {earlier!r}, which has not finished in '
                f'{context.output_dir}; run it first with --stages {earlier}'
            )


def _require_exportable(config: Config, stages: Sequence[str]) -> None:
    """Refuse, before hours of training, a network that the last stage cannot export."""
    name = config.backbone.architecture
    with torch.device('meta'):  # no weights are drawn
        exportable = build_backbone(name, num_classes=20).exportable
    if 'export' in stages and not exportable:
        raise ConfigError(
            f'backbone.architecture {name} cannot be exported; take another one, or leave '
            f'export out: --stages {",".join(stage for stage in STAGES if stage != "export")}'
        )


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.train',
        description='Train a model bundle. Every configuration key is also an option: '
        '--backbone.epochs 20; --print-config lists them.',
        allow_abbrev=False,
    )
    parser.add_argument('--config', type=Path, help='YAML file (default: the synthetic one)')
    parser.add_argument('--data-dir', help='folder of the data set')
    parser.add_argument('--weights', help='a finished backbone checkpoint, used frozen')
    parser.add_argument('--output', type=Path, help='result folder (default: runs/NAME)')
    parser.add_argument('--stages', default=','.join(STAGES), help='comma-separated subset')
    parser.add_argument('--resume', action='store_true', help='skip finished stages, continue')
    parser.add_argument('--print-config', action='store_true', help='print it and stop')
    return parser.parse_known_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options, overrides = _arguments(argv)
    if options.data_dir is not None:
        overrides += ['--data.data_dir', options.data_dir]
    if options.weights is not None:
        overrides += ['--backbone.weights', options.weights]
    stages = [name.strip() for name in options.stages.split(',') if name.strip()]
    try:
        config = load_config(options.config, overrides)
        unknown = [name for name in stages if name not in STAGES]
        if unknown or not stages:
            raise ConfigError(
                f'--stages names {", ".join(map(repr, unknown)) or "nothing"} but the stages are '
                f'{", ".join(STAGES)}; correct it'
            )
        if options.print_config:
            sys.stdout.write(to_yaml(config))
            return 0
        _require_exportable(config, stages)
        keep_freed_memory()
        if config.threads:
            torch.set_num_threads(config.threads)
        output = options.output or Path('runs') / config.name
        context = Context(config, output, choose_device(config.device))
        output.mkdir(parents=True, exist_ok=True)
        (output / 'config.yaml').write_text(to_yaml(config), encoding='utf-8')
        run_stages(context, stages, options.resume)
    except USER_ERRORS as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write('\ninterrupted; continue with --resume\n')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
