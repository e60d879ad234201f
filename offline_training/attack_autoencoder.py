"""The malicious autoencoder: train it against a network, attack images, report the damage."""

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

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from offline_training.attacks.alternate_training import VictimSettings, train_alternately
from offline_training.attacks.attack_damage import (
    answers,
    attack_image,
    damage_report,
    damage_table,
    draw_iou_bars,
)
from offline_training.attacks.autoencoder_options import arguments
from offline_training.attacks.autoencoder_training import AttackSettings, AutoencoderTraining
from offline_training.attacks.malicious_autoencoder import (
    MaliciousAutoencoder,
    export_attacker,
    in_color_order,
    load_attacker,
    psnr,
)
from offline_training.data.base import (
    DataError,
    SegmentationDataset,
    Split,
    files_by_stem,
    read_image,
)
from offline_training.learning.memory import keep_freed_memory
from offline_training.learning.session import Session
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import StorageError, write_bytes, write_json, write_tensors
from offline_training.learning.threads import use_idle_cores
from offline_training.measures.segmentation import VoidProtocol
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import (
    Context,
    choose_device,
    network_image,
    open_dataset,
    watched_network,
)

USER_ERRORS = (ConfigError, DataError, StorageError, FloatingPointError)


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


def apply(attacker: MaliciousAutoencoder, images: Path, output: Path) -> dict[str, float | None]:
    """Attack every image of a folder at its own size; write PNG files of the same stems.

    Return the PSNR in dB by stem, None for an image that did not change.
    """
    result: dict[str, float | None] = {}
    files = files_by_stem(images)
    if output.resolve() == images.resolve():
        raise DataError(f'{output} is the folder of the images: give another --output.')
    for stem, path in track(files.items(), 'attacking', console=Console(stderr=True)):
        attacked, change = attack_image(attacker, read_image(path))
        target = output / f'{stem}.png'
        _, png = cv2.imencode('.png', cv2.cvtColor(attacked, cv2.COLOR_RGB2BGR))
        try:
            write_bytes(target, png.tobytes())
        except OSError as error:
            raise StorageError(
                f'{target} cannot be written ({error}); check the folder and the disk'
            ) from None
        result[stem] = round(psnr(change), 3) if change > 0 else None
    return result


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
        values = apply(load_attacker(options.attacker), options.images, options.output)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options, overrides = arguments(argv)
    try:
        _run(options, overrides)
    except USER_ERRORS as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write('\ninterrupted; continue a training with --resume\n')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
