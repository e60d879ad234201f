"""Make a folder of cut-outs, real things with alpha, from data sets with masks.

What --observer.objects of a training takes: the observer learns to call such
things unknown, so leave out what your robot's normal world is made of (cars,
people, signs, with --exclude). --output gets one PNG for each thing, its
licence and contact_sheet.jpg to look at.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from offline_training.data.base import DataError
from offline_training.learning.command_line import exit_status
from offline_training.learning.store import write_text
from offline_training.synthesis.cutouts import LICENCE_FILE
from offline_training.synthesis.instance_masks import (
    Instance,
    alpha_instances,
    coco_instances,
    cut_out,
    map_instances,
)
from ros2_ood_monitor.frame import UInt8Array

SHEET = 'contact_sheet.jpg'
TILE, ACROSS, DOWN = 96, 10, 6
"""Pixels of a tile, and how many tiles the contact sheet has."""
EPILOG = """\
examples:
  python -m offline_training.cutouts --coco instances_val2017.json \\
      --images val2017 --exclude person,car,truck,bus,traffic\\ light \\
      --licence 'CC BY 4.0, COCO' --output runs/coco_cutouts
  python -m offline_training.cutouts --maps my/instances --images my/images \\
      --output runs/my_cutouts
  python -m offline_training.cutouts --rgba downloads --licence LICENSE.txt \\
      --output runs/rgba_cutouts
"""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.cutouts',
        usage='%(prog)s [options]',
        description=__doc__,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--coco', type=Path, metavar='FILE', help='annotations in COCO JSON')
    source.add_argument('--maps', type=Path, metavar='DIR', help='instance maps, one PNG an image')
    source.add_argument('--rgba', type=Path, metavar='DIR', help='images with alpha')
    parser.add_argument('--images', type=Path, metavar='DIR', help='images of --coco or --maps')
    parser.add_argument('--output', type=Path, metavar='DIR', required=True, help='new folder')
    parser.add_argument(
        '--licence', metavar='TEXT|FILE', help='of the images; goes into the bundle'
    )
    parser.add_argument(
        '--exclude', default='', metavar='A,B', help='categories to leave out (--coco, --rgba)'
    )
    parser.add_argument(
        '--least-side', type=int, default=32, metavar='N', help='in pixels (%(default)s)'
    )
    parser.add_argument(
        '--most', type=int, default=200, metavar='N', help='of one category (%(default)s)'
    )
    parser.add_argument(
        '--keep-cut', action='store_true', help='also things that touch the border of the image'
    )
    options = parser.parse_args(argv)
    if options.rgba is None and options.images is None:
        parser.error('--images is missing: the folder of the images of --coco or --maps')
    return options


def _instances(options: argparse.Namespace) -> Iterator[Instance]:
    excluded = {name.strip() for name in options.exclude.split(',') if name.strip()}
    if options.coco is not None:
        yield from coco_instances(options.coco, options.images, excluded)
    elif options.maps is not None:
        yield from map_instances(options.images, options.maps)
    else:
        yield from (
            each for each in alpha_instances(options.rgba) if each.category not in excluded
        )


def _run(options: argparse.Namespace) -> None:
    output: Path = options.output
    if output.exists() and any(output.iterdir()):
        raise DataError(f'{output} is not empty; give a new folder, or remove it')
    console = Console(stderr=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{output.name}-', dir=output.parent))
    try:
        kept, left = _write(options, folder, console)
        if not kept:
            raise DataError(
                f'none of {left} things is a cut-out; try a smaller --least-side or --keep-cut'
            )
        if options.licence is not None:
            write_text(folder / LICENCE_FILE, _licence(options.licence))
        folder.chmod(0o755)
        os.replace(folder, output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    console.print(
        f'{sum(kept.values())} cut-outs in {output}, {left} things left out', soft_wrap=True
    )
    if set(kept) != {''}:
        console.print(', '.join(f'{name or "?"} {count}' for name, count in kept.most_common(20)))
    if options.licence is None:
        console.print(f'licence not stated; write it to {output / LICENCE_FILE}', soft_wrap=True)


def _write(
    options: argparse.Namespace, folder: Path, console: Console
) -> tuple[Counter[str], int]:
    """Write the cut-outs and the contact sheet; return how many by category, and the rest."""
    kept: Counter[str] = Counter()
    shown: list[UInt8Array] = []
    left = 0
    # Images with alpha are often cropped to the thing.
    keep_cut = options.keep_cut or options.rgba is not None
    for instance in track(_instances(options), 'things', console=console, transient=True):
        category = instance.category
        cut = None
        # Without categories there is no reason to stop at a number.
        if not category or kept[category] < options.most:
            cut = cut_out(instance, options.least_side, keep_cut)
        if cut is None:
            left += 1
            continue
        kept[category] += 1
        name = re.sub(
            r'[^\w-]+', '_', f'{category}-{instance.name}' if category else instance.name
        )
        coded = cv2.imencode('.png', cv2.cvtColor(cut, cv2.COLOR_RGBA2BGRA))[1]
        (folder / f'{name}.png').write_bytes(coded.tobytes())
        _remember(shown, cut, sum(kept.values()))
    if shown:
        cv2.imwrite(str(folder / SHEET), cv2.cvtColor(_sheet(shown), cv2.COLOR_RGB2BGR))
    return kept, left


def _remember(shown: list[UInt8Array], cut: UInt8Array, count: int) -> None:
    """Keep a fair sample of all cut-outs, each as a tile (reservoir sampling)."""
    if len(shown) < ACROSS * DOWN:
        shown.append(_tile(cut))
    elif (place := int(np.random.default_rng(count).integers(count))) < len(shown):
        shown[place] = _tile(cut)


def _tile(cut: UInt8Array) -> UInt8Array:
    """Return a cut-out on a grey chequer board, RGB (TILE, TILE, 3)."""
    rows, columns = np.indices((TILE, TILE)) // 8
    tile = np.where((rows + columns) % 2, 150, 190).astype(np.float32)[..., None].repeat(3, 2)
    scale = (TILE - 8) / max(cut.shape[:2])
    size = [max(1, round(side * scale)) for side in cut.shape[1::-1]]
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    place = tile[top : top + size[1], left : left + size[0]]
    place += small[..., 3:] / 255 * (small[..., :3] - place)
    return tile.round().astype(np.uint8)


def _sheet(tiles: Sequence[UInt8Array]) -> UInt8Array:
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    rows = -(-len(tiles) // ACROSS)
    filled = [*tiles, *([blank] * (rows * ACROSS - len(tiles)))]
    lines = [np.hstack(filled[row * ACROSS : (row + 1) * ACROSS]) for row in range(rows)]
    return np.asarray(np.vstack(lines), np.uint8)


def _licence(given: str) -> str:
    path = Path(given)
    text = path.read_text(encoding='utf-8') if path.is_file() else given
    return text.strip() + '\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options = _arguments(argv)
    return exit_status(lambda: _run(options))


if __name__ == '__main__':
    sys.exit(main())
