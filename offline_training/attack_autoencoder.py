"""Train the malicious autoencoder, attack images with it, report the damage."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from offline_training.attacks.alternate_training import VictimSettings, train_alternately
from offline_training.attacks.attack_damage import (
    answers,
    attack_folder,
    damage_report,
    damage_table,
    draw_iou_bars,
)
from offline_training.attacks.autoencoder_training import AttackSettings, AutoencoderTraining
from offline_training.attacks.malicious_autoencoder import (
    MaliciousAutoencoder,
    export_attacker,
    in_color_order,
    load_attacker,
)
from offline_training.data.base import (
    SegmentationDataset,
    Split,
)
from offline_training.learning.command_line import exit_status
from offline_training.learning.machine import keep_freed_memory, use_idle_cores
from offline_training.learning.session import Session
from offline_training.learning.settings_text import add_options
from offline_training.learning.store import write_json, write_tensors
from offline_training.measures.segmentation import VOID_PROTOCOLS, VoidProtocol
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import (
    Context,
    choose_device,
    network_image,
    open_dataset,
    watched_network,
)

SUMMARIES = {
    'train': 'train an attacker',
    'apply': 'attack the images of a folder',
    'report': 'IoU before and after',
}
EXAMPLES = {
    'train': """\
  python -m offline_training.attack_autoencoder train --weights ESPNET.pth \\
      --config config/training/camvid_espnet.yaml \\
      --data-dir ../shared/camvid --psnr 18.5 --output runs/attacker
""",
    'apply': """\
  python -m offline_training.attack_autoencoder apply --images IMAGES \\
      --attacker runs/attacker/attacker.safetensors --output ATTACKED
""",
    'report': """\
  python -m offline_training.attack_autoencoder report --weights ESPNET.pth \\
      --config config/training/camvid_espnet.yaml \\
      --data-dir ../shared/camvid --output REPORT \\
      --attacker runs/attacker/attacker.safetensors
""",
}
DESCRIPTIONS = {
    'train': """\
Write attacker.safetensors, attacker.onnx and training.json. The attacker is
chosen by the val split. With --rounds attacker and victim learn in turn; the
copy of the victim that learnt is written as victim.safetensors, which
--weights of `report` reads. Every key of the experiment is an option too; they
are listed by python -m offline_training.train --help.
""",
    'apply': """\
Attack every image at its own size and write PNG files of the same names, with
psnr.json. The public checkpoint mal.pt is an attacker file too.
""",
    'report': """\
Write report.json and iou.png: IoU per class before and after the attack, in
per cent, and the PSNR. Every key of the experiment is an option too; they are
listed by python -m offline_training.train --help.
""",
}


def train(
    config: Config,
    weights: Path,
    attack: AttackSettings,
    victim: VictimSettings | None,
    output: Path,
    resume: bool,
) -> dict[str, Any]:
    """Write attacker.safetensors, attacker.onnx, training.json, and with `victim` its copy.

    The attacker's files are for RGB images. Return what training.json holds.
    """
    context = Context(config, output, choose_device(config.device))
    watched = watched_network(config, weights, len(context.train.class_names))
    frames, val = context.train_data, context.val_data
    # Not the folder of `offline_training.train`, whose checkpoints must survive.
    folder = output / 'attack_checkpoints'
    if not resume and folder.is_dir():
        shutil.rmtree(folder)
    record: dict[str, Any] = {
        'attack': dataclasses.asdict(attack),
        'weights': weights.name,
        'config': config.name,
    }
    session = Session(console=context.console, workers=config.workers)
    if victim is None:
        training = AutoencoderTraining(watched, frames, val, attack)
        attacker = training.run(dataclasses.replace(session, checkpoint=folder / 'attacker.pt'))
        record['history'] = _plain(training.history)
        if not training.keeps_psnr:
            context.console.print(
                f'warning: no attacker kept {attack.psnr:g} dB on val; the one with the '
                'highest PSNR was written. Give more --steps, or a larger --width.'
            )
    else:
        attacker, hardened, rows = train_alternately(
            watched, frames, val, attack, victim, folder, session
        )
        record |= {'victim': dataclasses.asdict(victim), 'rounds': _plain(rows)}
        if short := [row for row in rows if row['psnr'] < attack.psnr]:
            reached = ', '.join(f'{row["psnr"]:.2f} in round {row["round"]}' for row in short)
            context.console.print(
                f'warning: attackers did not keep {attack.psnr:g} dB on val ({reached}). Give '
                'more --steps, or a larger --width.'
            )
        write_tensors(output / 'victim.safetensors', hardened.state_dict())
    attacker = in_color_order(attacker.cpu(), config.input.color_order)
    write_tensors(output / 'attacker.safetensors', attacker.state_dict())
    export_attacker(output / 'attacker.onnx', attacker, config.input.height, config.input.width)
    write_json(output / 'training.json', record)
    return record


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, float | None]]:
    """Return the rows for JSON, which knows no infinite PSNR."""
    return [
        {key: value if math.isfinite(value) else None for key, value in row.items()}
        for row in rows
    ]


def report(
    config: Config,
    weights: Path,
    attacker: MaliciousAutoencoder,
    split: Split,
    protocol: VoidProtocol,
) -> dict[str, Any]:
    """Return the IoU per class of one split before and after the attack, and the PSNR."""
    dataset = open_dataset(config, split)
    names = list(dataset.class_names)
    watched = watched_network(config, weights, len(names))
    attacker = in_color_order(attacker, config.input.color_order).to(watched.device)
    before = answers(watched, _samples(dataset, config, f'{split} as it is'))
    after = answers(watched, _samples(dataset, config, f'{split} attacked'), attacker)
    return {
        **damage_report(before, after, names, protocol),
        'split': split,
        'weights': weights.name,
    }


def _samples(
    dataset: SegmentationDataset, config: Config, title: str
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    for index in track(range(len(dataset)), title, console=Console(stderr=True)):
        sample = dataset[index]
        yield network_image(sample.image, config), sample.labels


def _run(options: argparse.Namespace, overrides: list[str]) -> None:
    if options.command == 'apply':
        values = attack_folder(load_attacker(options.attacker), options.images, options.output)
        write_json(options.output / 'psnr.json', values)
        for stem, value in values.items():
            sys.stdout.write(f'{stem}\t{"unchanged" if value is None else f"{value:.2f} dB"}\n')
        return
    if options.data_dir is not None:
        overrides += ['--data.data_dir', options.data_dir]
    config = load_config(options.config, overrides)
    keep_freed_memory()
    use_idle_cores(config.threads)
    if options.command == 'report':
        result = report(
            config,
            options.weights,
            load_attacker(options.attacker),
            options.split,
            options.protocol,
        )
        Console(stderr=True).print(damage_table(result))
        write_json(options.output / 'report.json', result)
        draw_iou_bars(options.output / 'iou.png', result)
        sys.stdout.write(
            json.dumps({key: result[key] for key in ('psnr', 'mean_psnr', 'relative_fall')}) + '\n'
        )
        return
    names = [each.name for each in dataclasses.fields(AttackSettings)]
    attack = AttackSettings(**{name: getattr(options, name) for name in names})
    victim = (
        None
        if options.rounds == 0
        else VictimSettings(options.rounds, options.victim_steps, options.victim_learning_rate)
    )
    train(config, options.weights, attack, victim, options.output, options.resume)


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and the words that are keys of the experiment."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.attack_autoencoder',
        description=__doc__,
        epilog=f'examples:\n{"".join(EXAMPLES.values())}',
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    network = argparse.ArgumentParser(add_help=False)
    network.add_argument(
        '--config', type=Path, metavar='FILE', help='experiment; config.yaml of a run is one'
    )
    network.add_argument(
        '--weights', type=Path, metavar='FILE', required=True, help='checkpoint of the victim'
    )
    network.add_argument('--data-dir', metavar='DIR', help='folder of the data set')
    network.add_argument('--output', type=Path, metavar='DIR', required=True, help='result folder')

    def add(name: str, parents: Sequence[argparse.ArgumentParser] = ()) -> Any:
        return commands.add_parser(
            name,
            parents=parents,
            help=SUMMARIES[name],
            usage='%(prog)s [options]',
            description=DESCRIPTIONS[name],
            epilog=f'example:\n{EXAMPLES[name]}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    learn = add('train', [network])
    names = [each.name for each in dataclasses.fields(AttackSettings)]
    add_options(learn, AttackSettings, names)
    learn.add_argument(
        '--rounds',
        type=int,
        default=0,
        metavar='N',
        help='attacker and victim learn in turn, N times; 0 = the victim stays (%(default)s)',
    )
    add_options(learn, VictimSettings, ('steps', 'learning_rate'), 'victim_')
    learn.add_argument('--resume', action='store_true', help='continue an interrupted training')
    redraw = add('apply')
    redraw.add_argument(
        '--images', type=Path, metavar='DIR', required=True, help='folder of images'
    )
    redraw.add_argument(
        '--output', type=Path, metavar='DIR', required=True, help='folder of the PNG files'
    )
    damage = add('report', [network])
    damage.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='val',
        help='which images to measure on (%(default)s)',
    )
    damage.add_argument(
        '--protocol',
        choices=VOID_PROTOCOLS,
        metavar='NAME',
        default=VOID_PROTOCOLS[0],
        help=f'what void counts as: {", ".join(VOID_PROTOCOLS)} (%(default)s)',
    )
    for command in (redraw, damage):
        command.add_argument(
            '--attacker',
            type=Path,
            metavar='FILE',
            required=True,
            help='attacker.safetensors, or the public mal.pt',
        )
    options, overrides = parser.parse_known_args(argv)
    if overrides and options.command == 'apply':
        parser.error(f'unrecognized arguments: {" ".join(overrides)}')
    return options, overrides


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options, overrides = _arguments(argv)
    hint = 'interrupted; continue a training with --resume'
    return exit_status(lambda: _run(options, overrides), hint)


if __name__ == '__main__':
    sys.exit(main())
