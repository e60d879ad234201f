"""The model bundle: a directory with all that a robot needs to watch one segmentation network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ros2_ood_monitor.bundle.manifest import MAP_STRIDE, BundleError, Manifest
from ros2_ood_monitor.bundle.reading import read_manifest

__all__ = ['BundleError', 'ModelBundle', 'file_sha256', 'write_bundle']

MANIFEST = 'manifest.json'
ENGINES = 'engines'


@dataclass(frozen=True)
class ModelBundle(Manifest):
    """A checked bundle: the manifest, with every file it names present and unaltered.

    Paths of networks and self-test frames include the bundle's directory.
    """

    directory: Path = field(kw_only=True)

    @staticmethod
    def load(directory: Path | str) -> ModelBundle:
        """Read and verify the bundle in `directory`; raises BundleError saying what to do."""
        directory = Path(directory)
        manifest = read_manifest(_read_text(directory), str(directory / MANIFEST))
        values = {field.name: getattr(manifest, field.name) for field in fields(Manifest)}
        values['networks'] = {
            name: replace(network, path=_verified(directory, network.path, network.sha256))
            for name, network in manifest.networks.items()
        }
        values['selftest'] = tuple(
            replace(frame, path=_verified(directory, frame.path, frame.sha256))
            for frame in manifest.selftest
        )
        return ModelBundle(**values, directory=directory)

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of the single anomaly maps."""
        return self.height // MAP_STRIDE, self.width // MAP_STRIDE

    @property
    def engines(self) -> Path:
        """Folder of built engines; a cache, not part of what the manifest vouches for."""
        return self.directory / ENGINES


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with open(path, 'rb') as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_bundle(directory: Path, manifest: dict[str, Any], files: Mapping[str, Path]) -> None:
    """Write a bundle in one step; an existing one survives any failure.

    `files` maps places in the bundle (`backbone.onnx`, `selftest/normal.png`) to files to copy.
    The hashes in `manifest` are filled in here. The new bundle is complete and verified before
    it takes the old one's place. Raises BundleError if it would not load.
    """
    target = Path(directory).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not (target / MANIFEST).exists() and any(target.iterdir()):
        raise BundleError(
            f'{target} exists and is not a bundle; choose an empty or new folder to write to'
        )
    staging = Path(tempfile.mkdtemp(prefix=f'.{target.name}.new-', dir=target.parent))
    try:
        for place, source in files.items():
            destination = _inside(staging, place)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
        try:
            hashed = json.loads(json.dumps(manifest, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise BundleError(
                f'the manifest is not JSON ({error}); give numbers, texts, lists and objects'
            ) from error
        entries = [(entry, 'file') for entry in hashed.get('networks', {}).values()]
        entries += [(entry, 'image') for entry in hashed.get('selftest', [])]
        for entry, key in entries:
            path = _inside(staging, entry[key])
            if not path.is_file():
                raise BundleError(f'the manifest names {entry[key]}; pass it in files')
            entry['sha256'] = file_sha256(path)
        text = json.dumps(hashed, indent=1)
        (staging / MANIFEST).write_text(text + '\n', encoding='utf-8')
        ModelBundle.load(staging)
        staging.chmod(0o755)
        _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, target: Path) -> None:
    """Put `staging` at `target`; the old bundle is set aside first and put back on failure."""
    old = _old(target)
    if not target.exists():
        os.replace(staging, target)
        return
    shutil.rmtree(old, ignore_errors=True)
    os.replace(target, old)
    try:
        os.replace(staging, target)
    except BaseException:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _old(target: Path) -> Path:
    return target.with_name(f'.{target.name}.old')


def _read_text(directory: Path) -> str:
    path = directory / MANIFEST
    try:
        return path.read_text(encoding='utf-8')
    except FileNotFoundError as error:
        old = _old(directory.resolve())
        advice = (
            f'an interrupted write left the previous one in {old}; rename it back'
            if old.exists()
            else 'give the folder of an exported bundle'
        )
        raise BundleError(f'{path} does not exist; {advice}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f'{path} cannot be read ({error}); export the bundle again') from error


def _inside(directory: Path, place: str | Path) -> Path:
    """Return `directory / place`; refuses a place outside the bundle."""
    parts = PurePosixPath(place)
    if parts.is_absolute() or '..' in parts.parts or not parts.parts:
        raise BundleError(f'{place} is not a place inside the bundle; use a relative path')
    return directory / parts


def _verified(directory: Path, place: Path, sha256: str) -> Path:
    path = _inside(directory, place)
    try:
        actual = file_sha256(path)
    except FileNotFoundError as error:
        raise BundleError(
            f'{path} is missing; copy the whole bundle again or export it again'
        ) from error
    except OSError as error:
        raise BundleError(f'{path} cannot be read ({error}); copy the bundle again') from error
    if actual != sha256:
        raise BundleError(
            f'{path} ({path.stat().st_size} bytes) is truncated or altered: its SHA-256 does not '
            'match manifest.json; copy the whole bundle again or export it again'
        )
    return path
