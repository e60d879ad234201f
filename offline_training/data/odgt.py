"""Lists of labelled images in the odgt format of the CAOS benchmark (StreetHazards, BDD)."""

from __future__ import annotations

import json
from pathlib import Path

from offline_training.data.base import DataError, FilePair

_KEYS = ('fpath_img', 'fpath_segm')


def read_odgt(path: Path) -> list[FilePair]:
    """Return the pairs that an odgt file lists, in its order; paths are relative to its folder.

    The file is one JSON list of objects with `fpath_img` and `fpath_segm` (so the benchmark writes
    it) or one such object per line. `width` and `height` are ignored: the benchmark's scripts
    always write 1280 and 720.

    Raises:
        DataError: The file is no such list or empty, or a file that it lists is missing.
    """
    try:
        text = path.read_text(encoding='utf-8')
        lines = [line for line in text.splitlines() if line.strip()]
        one_list = text.lstrip().startswith('[')
        entries = json.loads(text) if one_list else [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DataError(f'{path} cannot be read as odgt ({error}): unpack it again.') from None
    if not entries:
        raise DataError(f'{path} lists no images: unpack the data set again.')
    pairs = []
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in _KEYS):
            raise DataError(
                f'{path}: entry {position} must be an object with "fpath_img" and "fpath_segm", '
                f'not {str(entry)[:80]}: correct it.'
            )
        image, labels = (path.parent / entry[key] for key in _KEYS)
        for file in (image, labels):
            if not file.is_file():
                raise DataError(
                    f'{file} is missing but {path.name} lists it: unpack the data set completely '
                    'or remove the entry.'
                )
        pairs.append(FilePair(image, labels))
    return pairs
