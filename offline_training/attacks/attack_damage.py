"""What an attack on whole frames does to a network: IoU per class before and after, and its PSNR.

Attacked frames are rounded to bytes, as a camera would deliver them, before the network sees them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from offline_training.attacks.malicious_autoencoder import psnr, squared_change
from offline_training.data.base import (
    VOID,
    DataError,
    files_by_stem,
    labels_at_size,
    read_image,
)
from offline_training.learning.store import StorageError, write_bytes
from offline_training.measures.segmentation import ConfusionMatrix, VoidProtocol
from offline_training.watched.base import Watched
from offline_training.watched.prediction import predict_labels
from ros2_ood_monitor.frame import UInt8Array


@dataclass(eq=False)
class Answers:
    """A network's labels of attacked frames, and how much each frame was changed."""

    matrix: ConfusionMatrix
    squared_changes: list[float] = field(default_factory=list)
    """Mean squared change of each frame, in squared grey levels."""

    @property
    def psnr(self) -> float:
        """PSNR in dB of the squared change of all frames together: never above `mean_psnr`."""
        return psnr(float(np.mean(self.squared_changes)))

    @property
    def mean_psnr(self) -> float:
        """Mean over the frames of their PSNR in dB."""
        return float(np.mean([psnr(change) for change in self.squared_changes]))


def attack_image(attacker: nn.Module, image: UInt8Array) -> tuple[UInt8Array, float]:
    """Return the attacked image uint8 (H, W, 3) and its mean squared change in grey levels².

    `image` is uint8 (H, W, 3) in the colour order that the attacker is for.
    """
    device = next(attacker.parameters()).device
    with torch.inference_mode():
        pixels = torch.from_numpy(image)[None].to(device).permute(0, 3, 1, 2).float()
        attacked = attacker(pixels).round()
        change = squared_change(attacked, pixels).item()
        redrawn = attacked[0].to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return redrawn, change


def attack_folder(attacker: nn.Module, images: Path, output: Path) -> dict[str, float | None]:
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


def answers(
    watched: Watched,
    samples: Iterable[tuple[UInt8Array, UInt8Array]],
    attacker: nn.Module | None = None,
) -> Answers:
    """Predict the labels of frames, attacked first if an attacker is given.

    `samples` are images uint8 (H, W, 3) in model colour order at network size, and labels uint8
    (H', W'), with which the predictions are compared at label size; labels that are not a class
    (void, unknown objects) count as void.
    """
    classes = watched.num_classes
    result = Answers(ConfusionMatrix(classes))
    for image, labels in samples:
        change = 0.0
        if attacker is not None:
            image, change = attack_image(attacker, image)
        with torch.inference_mode():
            guess = predict_labels(watched.network, watched.normalize, image, classes)
        result.matrix.update(
            np.where(labels < classes, labels, VOID), labels_at_size(guess, labels.shape)
        )
        result.squared_changes.append(change)
    return result


def damage_report(
    before: Answers, after: Answers, class_names: list[str], protocol: VoidProtocol
) -> dict[str, Any]:
    """Return plain values: figures before and after in percent, PSNRs in dB (None = unchanged).

    `relative_fall` is the share of the mean IoU that the attack takes away, in percent;
    `psnr` is that of the mean squared change, `mean_psnr` the mean over frames.
    """
    plain, attacked = (part.matrix.report(class_names, protocol) for part in (before, after))
    fall = 100 * (1 - attacked['miou'] / plain['miou']) if plain['miou'] > 0 else 0.0
    return {
        'before': plain,
        'after': attacked,
        'relative_fall': round(fall, 2),
        'psnr': _finite(after.psnr),
        'mean_psnr': _finite(after.mean_psnr),
        'lowest_psnr': _finite(min(map(psnr, after.squared_changes))),
        'frames': len(after.squared_changes),
        'protocol': protocol,
    }


def damage_table(report: dict[str, Any]) -> Table:
    """Return a `damage_report` as a table for the terminal."""
    table = Table(title=f'{report["frames"]} frames, {_strength(report)}, {report["protocol"]}')
    table.add_column('class')
    for heading in ('IoU % before', 'attacked', 'fall %'):
        table.add_column(heading, justify='right')
    before, after = report['before'], report['after']
    for name, value in before['iou'].items():
        table.add_row(name, *_row(value, after['iou'][name]))
    table.add_section()
    table.add_row('mean', *_row(before['miou'], after['miou']))
    table.add_row('pixel accuracy', *_row(before['pixel_accuracy'], after['pixel_accuracy']))
    return table


def _row(before: float | None, after: float | None) -> tuple[str, str, str]:
    fall = '-' if not before or after is None else f'{100 * (1 - after / before):.1f}'
    first, second = ('-' if value is None else f'{value:.2f}' for value in (before, after))
    return first, second, fall


def _strength(report: dict[str, Any]) -> str:
    return 'unchanged' if report['psnr'] is None else f'PSNR {report["psnr"]:.1f} dB'


def draw_iou_bars(path: Path, report: dict[str, Any]) -> None:
    """Draw the IoU of each class before and after the attack as a PNG bar chart, atomically."""
    # Imported when asked for, and without pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    before, after = report['before'], report['after']
    names = [*before['iou'], 'mean']
    figure = Figure(figsize=(1.6 + 0.7 * len(names), 4.2), layout='constrained')
    axes = figure.subplots()
    places = np.arange(len(names))
    for part, shift, color, label in (
        (before, -0.2, '#4477aa', 'as the camera sees it'),
        (after, 0.2, '#cc6677', 'attacked'),
    ):
        values = [*(value or 0.0 for value in part['iou'].values()), part['miou']]
        bars = axes.bar(places + shift, values, 0.4, color=color, label=label)
        axes.bar_label(bars, fmt='%.0f', fontsize=8, padding=1)
    axes.set_xticks(places, names, rotation=35, ha='right')
    axes.set_ylim(0, 105)
    axes.set_ylabel('IoU in %')
    axes.set_title(
        f'Malicious autoencoder, {_strength(report)}: mean IoU falls by '
        f'{report["relative_fall"]:.0f} %'
    )
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc='upper right')
    png = io.BytesIO()
    figure.savefig(png, format='png', dpi=110)
    write_bytes(path, png.getvalue())


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
