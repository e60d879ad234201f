"""The command line of `offline_training.attack_autoencoder`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offline_training.attacks.alternate_training import VictimSettings
from offline_training.attacks.autoencoder_training import AttackSettings
from offline_training.learning.settings_text import add_options
from offline_training.measures.segmentation import VOID_PROTOCOLS

DESCRIPTION = """\
The malicious autoencoder: train it against a network, attack images, report
the damage.
"""
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


def arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and the words that are keys of the experiment."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.attack_autoencoder',
        description=DESCRIPTION,
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
