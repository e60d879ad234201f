"""A user's own training set: images, label images and a class list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from offline_training.data.base import (
    SHARES,
    VOID,
    DataError,
    LabelledFiles,
    Split,
    cut_in_order,
    pair_files,
    require_split,
)


class LabelledFolder(LabelledFiles):
    """`root/classes.yaml` with `root/{train,val,test}/{images,labels}`, or one `root/images`.

    classes.yaml has a list `classes` of `{name: road, color: [128, 64, 128]}` in label order and
    optionally `void: [...]`, label values to ignore (255 always is). A single images/ and labels/
    is cut in order of names into the first 70 % train, 15 % val, 15 % test.

    Raises:
        DataError: The split is unknown, classes.yaml, folders or files are missing or wrong; on
            reading also for unreadable, mismatched or wrongly labelled files.
    """

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, tuple(SHARES), 'a labelled folder')
        root = Path(root)
        if not root.is_dir():
            raise DataError(f'{root} is not a folder: check the data path.')
        classes, void = _read_classes(root / 'classes.yaml')
        self.class_names = tuple(classes)
        self.palette = tuple(classes.values())
        if (root / 'images').is_dir():
            files = pair_files(root / 'images', root / 'labels')
            files = cut_in_order(files, SHARES[split], root / 'images', split)
        else:
            files = pair_files(root / split / 'images', root / split / 'labels')
        known = {label: label for label in range(len(classes))}
        super().__init__(files, known | dict.fromkeys([*void, VOID], VOID))


def _read_classes(path: Path) -> tuple[dict[str, tuple[int, int, int]], list[int]]:
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise DataError(
            f'{path} is missing: list your classes in it, in label order, as '
            '"classes: [{name: road, color: [128, 64, 128]}, ...]".'
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise DataError(f'{path} cannot be read as YAML ({reason}): correct it.') from error
    if not isinstance(document, dict) or document.keys() - {'classes', 'void'}:
        raise DataError(f'{path} may only have the keys "classes" and "void": correct it.')
    entries, void = document.get('classes'), document.get('void', [])
    if not isinstance(entries, list) or not 2 <= len(entries) <= VOID:
        raise DataError(f'{path}: "classes" must be a list of 2 to {VOID} classes: correct it.')
    classes: dict[str, tuple[int, int, int]] = {}
    for position, entry in enumerate(entries):
        name, color = _read_class(path, position, entry)
        if name in classes:
            raise DataError(f'{path}: the class {name!r} is listed twice: rename one.')
        classes[name] = color
    if not isinstance(void, list) or not all(_is_byte(value) for value in void):
        raise DataError(f'{path}: "void" must be a list of label values 0-255: correct it.')
    taken = [value for value in void if value < len(classes)]
    if taken:
        raise DataError(f'{path}: void value {taken[0]} is also the label of a class: change it.')
    return classes, void


def _read_class(path: Path, position: int, entry: Any) -> tuple[str, tuple[int, int, int]]:
    if isinstance(entry, dict) and entry.keys() == {'name', 'color'}:
        name, color = entry['name'], entry['color']
        triple = isinstance(color, list) and len(color) == 3 and all(map(_is_byte, color))
        if isinstance(name, str) and name and triple:
            return name, (color[0], color[1], color[2])
    raise DataError(
        f'{path}: class {position} must read {{name: road, color: [128, 64, 128]}}, '
        f'not {entry!r}: correct it.'
    )


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
