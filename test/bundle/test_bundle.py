from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('onnx')

from support import tiny_bundle as tiny

from ros2_ood_monitor.bundle import model_bundle as bundle_module
from ros2_ood_monitor.bundle.model_bundle import BundleError, ModelBundle, write_bundle


@pytest.fixture
def writable(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / 'bundle'))


@pytest.fixture
def edit(writable: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    def edit(change: Callable[[dict[str, Any]], object]) -> Path:
        path = writable / 'manifest.json'
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return writable

    return edit


def parts(directory: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return what `write_bundle` needs to write this bundle again."""
    manifest = json.loads((directory / 'manifest.json').read_text())
    names = [*(f'{name}.onnx' for name in manifest['networks'])]
    names += [entry['image'] for entry in manifest['selftest']]
    return manifest, {name: directory / name for name in names}


def content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob('*')
        if path.is_file()
    }


def test_a_good_bundle_loads(tiny_bundle: Path) -> None:
    bundle = ModelBundle.load(tiny_bundle)
    assert (bundle.name, bundle.width, bundle.height, bundle.map_size) == (
        'tiny',
        64,
        48,
        (12, 16),
    )
    assert list(bundle.networks) == ['backbone', 'flow', 'observer', 'image']
    assert bundle.networks['flow'].path == tiny_bundle / 'flow.onnx'
    assert bundle.classes[1].name == 'sky'
    assert bundle.classes[1].color == (70, 130, 180)
    (channel,) = bundle.channels.values()
    names = [each.name for each in channel.fusion.maps]
    assert names == ['energy', 'density', 'unknown', 'error']
    assert bundle.regions is channel.regions
    assert [stored.alarming for stored in bundle.selftest] == [False, True]


@pytest.mark.parametrize('name', ['flow.onnx', 'selftest/normal.png'])
def test_missing_file(writable: Path, name: str) -> None:
    (writable / name).unlink()
    with pytest.raises(BundleError, match=rf'{name} is missing; copy the whole bundle again'):
        ModelBundle.load(writable)


def test_truncated_file(writable: Path) -> None:
    path = writable / 'backbone.onnx'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r'backbone.onnx .* truncated or altered'):
        ModelBundle.load(writable)


def test_altered_file(writable: Path) -> None:
    path = writable / 'observer.onnx'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r'observer.onnx .* truncated or altered'):
        ModelBundle.load(writable)


def test_missing_manifest_and_missing_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / 'nowhere'):
        with pytest.raises(BundleError, match=r'manifest\.json does not exist; give the folder'):
            ModelBundle.load(folder)


@pytest.mark.parametrize('text', ['', '{"schema_version": 1,', '[1]', '"text"', '{"a": NaN}'])
def test_manifest_that_is_not_a_json_object(writable: Path, text: str) -> None:
    (writable / 'manifest.json').write_text(text)
    with pytest.raises(BundleError, match=r'manifest\.json.*export the bundle again'):
        ModelBundle.load(writable)


def test_manifest_with_other_bytes(writable: Path) -> None:
    (writable / 'manifest.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(BundleError, match='cannot be read'):
        ModelBundle.load(writable)


def test_newer_schema_is_refused_before_anything_else(edit: Any) -> None:
    directory = edit(lambda m: (m.update(schema_version=3, something_new=1), m.pop('channels')))
    with pytest.raises(BundleError, match=r'schema_version 3 is newer.*update ros2_ood_monitor'):
        ModelBundle.load(directory)


MAPS = 'channels.object.fusion.maps'
UNWEIGHTED = {**tiny.FUSION['maps'][0], 'weight': 0}
SECOND = {**tiny.DENSITY, 'frame_score': {'top_fraction': 0.05, 'reference': [0.0]}}
OTHER = {**SECOND, 'regions': {'threshold': 0.5, 'min_area': 4}}
NAMESAKE = {
    **SECOND,
    'fusion': {'maps': [{**tiny.FUSION['maps'][0], 'name': 'density'}], 'bias': 0},
}


def set_path(manifest: dict[str, Any], path: str, value: object) -> None:
    *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
    for key in parents:
        manifest = manifest[key]
    manifest[last] = value


@pytest.mark.parametrize(
    ('path', 'value', 'sentence'),
    [
        ('schema_version', '1', "schema_version is '1'"),
        ('colour', 1, 'colour is unknown'),
        ('fusion', {}, 'fusion is unknown'),
        ('channels.object.fusion.extra', 1, 'channels.object.fusion.extra is unknown'),
        ('name', '', 'name must be a non-empty string'),
        ('input.width', 64.5, 'input.width must be a whole number'),
        ('input.width', 66, 'must be a multiple of 4'),
        ('input.height', '48', 'input.height must be a number'),
        ('input.color_order', 'hsv', 'input.color_order must be one of rgb, bgr'),
        ('normalization.std', [1, 0, 1], 'normalization.std must be between'),
        ('classes', [], 'classes must be a non-empty list'),
        ('classes.0.color', [1, 2], r'classes\[0\].color must hold 3 numbers'),
        ('classes.0.color', [1, 2, 256], 'must be between 0 and 255'),
        ('void_label', 300, 'void_label must be between 0 and 254'),
        ('backbone.num_classes', 9, 'classes does not name every label'),
        ('networks.flow', 7, 'networks.flow must be an object'),
        ('networks.flow.file', '../flow.onnx', 'is not a place inside the bundle'),
        ('networks.flow.inputs.0.dtype', 'float64', r'inputs\[0\].dtype must be one of'),
        ('networks.flow.inputs.0.shape', [1, 4, 12, 17], 'networks.flow needs tap1 as float32'),
        ('networks.flow.inputs.0.shape', [1, 4, 12.5, 16], 'shape must be whole numbers'),
        ('networks.flow.inputs.0.name', 'tap9', 'tap9, which no earlier network gives'),
        ('networks.flow.outputs.0.name', 'energy', 'gives energy a second time'),
        ('networks.flow.outputs.0.name', 'other', 'the map density needs density'),
        ('networks.flow.outputs.0.shape', [1, 1, 24, 32], 'the map density needs density as'),
        ('networks.backbone.outputs.0.shape', [1, 12, 16], 'the segmentation needs labels as'),
        ('networks.backbone.inputs.0.shape', [1, 64, 48, 3], 'networks.backbone needs image as'),
        ('channels.object', None, 'channels.object must be an object'),
        ('channels.other', OTHER, r'channels.other.regions must be null: only'),
        ('channels.other', NAMESAKE, r'channels.other.fusion.maps: density is another map'),
        ('channels.other', SECOND, r'selftest\[0\].statistics must have one number for each'),
        ('channels.object.regions', None, 'channels.object.regions must be an object: the'),
        (f'{MAPS}.1.name', 'energy', 'must not name a map twice'),
        (f'{MAPS}.3.channel', 2, 'the map error reads channel 2 of observer, which has 2'),
        (f'{MAPS}.3.channel', -1, r'maps\[3\].channel must be between 0'),
        (f'{MAPS}.0.tensor', 'labels', 'the map energy needs labels as float32'),
        (f'{MAPS}.0.std', 0, r'maps\[0\].std must be between'),
        (MAPS, [UNWEIGHTED], 'channels.object.fusion.maps must not all have weight 0'),
        ('channels.object.fusion.bias', None, 'fusion.bias must be a number'),
        ('channels.object.fusion.bias', True, 'fusion.bias must be a number'),
        ('channels.object.regions.threshold', 1.5, 'regions.threshold must be between'),
        ('channels.object.frame_score.reference', [2.0, 1.0], 'reference must be ascending'),
        ('channels.object.alarms', [], 'alarms must be a non-empty list'),
        ('channels.object.alarms.0.kind', 'ewma', r'alarms\[0\].kind must be one of cusum'),
        ('channels.object.alarms.0.threshold', 0, r'alarms\[0\].threshold must be between'),
        ('channels.object.certificate.hours', -1, 'certificate.hours must be between'),
        ('channels.object.certificate.sequences', 1.5, 'sequences must be a whole number'),
        ('selftest.0.statistics', {'object': '1'}, 'statistics.object must be a number'),
        ('selftest.0.statistics', {}, r'selftest\[0\].statistics must have one number'),
        ('selftest.0.alarming', 1, r'selftest\[0\].alarming must be true or false'),
        ('selftest', [], 'selftest must be a non-empty list'),
        ('metrics', [], 'metrics must be an object'),
    ],
)
def test_wrong_values_are_named(edit: Any, path: str, value: object, sentence: str) -> None:
    directory = edit(lambda manifest: set_path(manifest, path, value))
    with pytest.raises(BundleError, match=sentence) as caught:
        ModelBundle.load(directory)
    message = str(caught.value)
    assert str(directory) in message or 'inside the bundle' in message
    assert ';' in message
    assert '\n' not in message


@pytest.mark.parametrize(
    'path',
    [
        'tolerance',
        'networks.backbone',
        'channels.object',
        'channels.object.alarms',
        'channels.object.fusion.bias',
    ],
)
def test_missing_keys_are_named(edit: Any, path: str) -> None:
    def remove(manifest: dict[str, Any]) -> None:
        *parents, last = path.split('.')
        for key in parents:
            manifest = manifest[key]
        del manifest[last]

    with pytest.raises(BundleError, match=f'{path} is missing'):
        ModelBundle.load(edit(remove))


def test_writing_replaces_the_old_bundle_whole(writable: Path, tiny_bundle: Path) -> None:
    (writable / 'engines').mkdir()
    (writable / 'engines' / 'old.plan').write_bytes(b'old')
    manifest, files = parts(tiny_bundle)
    write_bundle(writable, {**manifest, 'name': 'second'}, files)
    assert ModelBundle.load(writable).name == 'second'
    assert not (writable / 'engines').exists()
    assert [path.name for path in writable.parent.iterdir()] == ['bundle']


def broken_parts(tiny_bundle: Path, how: str) -> tuple[dict[str, Any], dict[str, Path]]:
    manifest, files = parts(tiny_bundle)
    manifest = copy.deepcopy(manifest)
    if how == 'missing source':
        files['flow.onnx'] = tiny_bundle / 'nowhere.onnx'
    elif how == 'file not passed':
        del files['flow.onnx']
    elif how == 'wrong value':
        manifest['channels']['object']['alarms'] = []
    elif how == 'not a number':
        manifest['metrics'] = {'ap': float('nan')}
    elif how == 'place outside':
        files['../outside.onnx'] = files['flow.onnx']
    return manifest, files


@pytest.mark.parametrize(
    'how', ['missing source', 'file not passed', 'wrong value', 'not a number', 'place outside']
)
def test_an_existing_bundle_survives_a_failed_write(
    writable: Path, tiny_bundle: Path, how: str
) -> None:
    before = content(writable)
    with pytest.raises((BundleError, FileNotFoundError)):
        write_bundle(writable, *broken_parts(tiny_bundle, how))
    assert content(writable) == before
    assert [path.name for path in writable.parent.iterdir()] == ['bundle']


def test_an_existing_bundle_survives_a_failed_swap(
    writable: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(writable)
    replace, calls = bundle_module.os.replace, []

    def fail_second(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError('disk full')
        replace(source, target)

    monkeypatch.setattr(bundle_module.os, 'replace', fail_second)
    with pytest.raises(OSError, match='disk full'):
        write_bundle(writable, *parts(tiny_bundle))
    assert content(writable) == before
    assert [path.name for path in writable.parent.iterdir()] == ['bundle']


def test_a_power_cut_during_the_swap_leaves_a_hint(writable: Path) -> None:
    writable.rename(writable.parent / '.bundle.old')
    with pytest.raises(BundleError, match=r'left the previous one in .*\.bundle\.old; rename'):
        ModelBundle.load(writable)


def test_a_folder_with_other_things_is_not_overwritten(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(BundleError, match='exists and is not a bundle'):
        write_bundle(tmp_path, *parts(tiny_bundle))
    assert (tmp_path / 'thesis.tex').read_text() == 'years of work'
