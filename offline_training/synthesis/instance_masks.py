"""Things with a mask in data sets: COCO annotations, instance maps, images with alpha."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.data.base import DataError, pair_files, read_image
from offline_training.synthesis.cutouts import Cutouts
from ros2_ood_monitor.frame import UInt8Array

BACKGROUND = (0, 255)
"""Values of an instance map that are no thing: nothing, and ignored."""


@dataclass(frozen=True)
class Instance:
    """One thing in an image."""

    name: str
    """Unique in its data set; part of a file name."""
    category: str
    """'' where the data set does not say."""
    image: UInt8Array
    """RGB (H, W, 3)."""
    mask: NDArray[np.bool_]
    """(H, W)."""


def coco_instances(
    annotations: Path, images: Path, excluded: Collection[str] = ()
) -> Iterator[Instance]:
    """Yield the things of a COCO annotation file, crowds excepted, image by image.

    Raises:
        DataError: the file is not COCO, an image is missing, or a mask does not fit its image.
    """
    document = _read_json(annotations)
    try:
        categories = {each['id']: str(each['name']) for each in document['categories']}
        files = {each['id']: str(each['file_name']) for each in document['images']}
        things: dict[Any, list[dict[str, Any]]] = {}
        for each in document['annotations']:
            wanted = categories[each['category_id']] not in excluded
            if wanted and not each.get('iscrowd', 0):
                things.setdefault(files[each['image_id']], []).append(each)
    except (KeyError, TypeError) as error:
        raise DataError(
            f'{annotations} is not a COCO annotation file (images, annotations, categories): '
            f'{error!r}; give the instances_*.json of the data set'
        ) from error
    for file, own in things.items():
        # Masks are of the pixels as they are stored.
        image = read_image(_inside(images, file), turn_upright=False)
        for each in own:
            try:
                mask = coco_mask(each['segmentation'], *image.shape[:2])
            except (KeyError, TypeError, ValueError, IndexError, cv2.error) as error:
                raise DataError(
                    f'{annotations}: the segmentation of annotation {each.get("id")} is not one '
                    f'of a {image.shape[1]}x{image.shape[0]} image: {error}'
                ) from error
            yield Instance(f'{each["id"]}', categories[each['category_id']], image, mask)


def coco_mask(segmentation: Any, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a COCO segmentation: polygons, or runs, packed or not.

    Raises:
        ValueError: the runs are not those of an image of this size.
    """
    mask = np.zeros((rows, columns), np.uint8)
    if isinstance(segmentation, list):
        for corners in segmentation:
            points = np.rint(np.array(corners, np.float64).reshape(-1, 2)).astype(np.int32)
            # One by one: where two polygons overlap, both are the thing.
            cv2.fillPoly(mask, [points], (1,))
        return mask.astype(bool)
    counts = segmentation['counts']
    runs = unpacked(counts) if isinstance(counts, str) else [int(each) for each in counts]
    if list(segmentation['size']) != [rows, columns]:
        raise ValueError(f'its size is {segmentation["size"]}')
    if min(runs, default=0) < 0 or sum(runs) != rows * columns:
        raise ValueError(f'its runs cover {sum(runs)} of {rows * columns} pixels')
    values = np.arange(len(runs)) % 2 == 1
    # Column by column.
    return np.repeat(values, runs).reshape(columns, rows).T


def unpacked(text: str) -> list[int]:
    """Return the run lengths of COCO's packed text.

    Groups of five bits from the lowest, each a character from '0' on, bit 6 says that more follow;
    from the third run on differences to the run before the last.

    Raises:
        ValueError: the text ends within a number, or holds another character.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - ord('0')
        if not 0 <= group < 64:
            raise ValueError(f'its packed runs hold the character {character!r}')
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError('its packed runs end within a number')
    return runs


def map_instances(images: Path, maps: Path) -> Iterator[Instance]:
    """Yield the things of images with an instance map each, a PNG of the same stem.

    Each value of a map but 0 and 255 is one thing; maps have 8 or 16 bits.

    Raises:
        DataError: a folder is missing, a map is missing or has another size.
    """
    for pair in pair_files(images, maps):
        image = read_image(pair.image, turn_upright=False)
        values = cv2.imdecode(np.fromfile(pair.labels, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None or values.ndim != 2 or values.shape != image.shape[:2]:
            raise DataError(
                f'{pair.labels} is not a grey map of the size of {pair.image.name}; give instance '
                'maps with one value for each thing'
            )
        for value in np.setdiff1d(np.unique(values), BACKGROUND):
            yield Instance(f'{pair.image.stem}-{value}', '', image, values == value)


def alpha_instances(folder: Path) -> Iterator[Instance]:
    """Yield the things of images with alpha; the folder of each is its category.

    Raises:
        DataError: see `Cutouts`.
    """
    cutouts = Cutouts(folder)
    for path, image in zip(cutouts.paths, cutouts, strict=True):
        place = path.relative_to(folder)
        name = '-'.join(place.with_suffix('').parts)
        category = '' if len(place.parts) == 1 else place.parts[0]
        yield Instance(name, category, image[..., :3], image[..., 3] > 0)


def cut_out(instance: Instance, least_side: int, keep_cut: bool) -> UInt8Array | None:
    """Return the thing as RGBA (H, W, 4), cropped; None if it is too small or not whole.

    A thing that touches the image's border has been cut by it, unless `keep_cut`.
    """
    rows, columns = np.flatnonzero(instance.mask.any(1)), np.flatnonzero(instance.mask.any(0))
    if not rows.size:
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    height, width = (side.stop - side.start for side in box)
    if min(height, width) < least_side:
        return None
    full = instance.mask.shape
    at_border = rows[0] == 0 or columns[0] == 0 or rows[-1] == full[0] - 1
    if not keep_cut and (at_border or columns[-1] == full[1] - 1):
        return None
    alpha = np.where(instance.mask[box], 255, 0).astype(np.uint8)
    return np.dstack([instance.image[box], alpha])


def _inside(folder: Path, file: str) -> Path:
    path = folder / file
    if '..' in Path(file).parts or Path(file).is_absolute():
        raise DataError(f'the image {file!r} is not inside {folder}; correct the annotations')
    return path


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f'{path} is not readable as JSON: {error}; check the path') from error
