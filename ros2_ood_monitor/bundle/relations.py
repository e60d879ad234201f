"""What values of a manifest must be to each other; `manifest.schema.json` cannot say it."""

from __future__ import annotations

from ros2_ood_monitor.bundle.manifest import (
    MAP_STRIDE,
    Channel,
    Manifest,
    Tensor,
    statistic_names,
)
from ros2_ood_monitor.bundle.strict_json import JsonError


def check_labels(manifest: Manifest) -> None:
    """Refuse labels without a class; raises JsonError, as all of these do."""
    labels = set(range(manifest.backbone['num_classes'])) - {manifest.void_label}
    if max(labels, default=0) >= len(manifest.classes):
        raise JsonError('classes does not name every label')


def check_channels(manifest: Manifest) -> None:
    """Refuse what would make a channel's numbers ambiguous."""
    sources: dict[str, tuple[str, int]] = {}
    for name, channel in manifest.channels.items():
        path = f'channels.{name}'
        _check_parts(channel, path)
        if channel.frame_score is not None:
            _check_ascending(channel.frame_score.reference, f'{path}.frame_score.reference')
        for statistic in channel.statistics:
            _check_ascending(statistic.reference, f'{path}.statistics: {statistic.name}')
        _check_once([each.name for each in channel.statistics], f'{path}.statistics', 'statistic')
        maps = channel.fusion.maps if channel.fusion is not None else ()
        _check_once([each.name for each in maps], f'{path}.fusion.maps', 'map')
        for each in maps:
            source = (each.tensor, each.channel)
            if sources.setdefault(each.name, source) != source:
                raise JsonError(f'{path}.fusion.maps: {each.name} is another map elsewhere')
    names = [
        own
        for name, channel in manifest.channels.items()
        for own in statistic_names(name, channel)
    ]
    for index, stored in enumerate(manifest.selftest):
        if stored.statistics.keys() != set(names):
            raise JsonError(
                f'selftest[{index}].statistics must have one number for each of {", ".join(names)}'
            )


def _check_parts(channel: Channel, path: str) -> None:
    """Refuse a channel that has half of a frame score, or nothing to score."""
    if (channel.fusion is None) != (channel.frame_score is None):
        raise JsonError(f'{path}: fusion and frame_score must both be objects or both be null')
    if channel.fusion is None and not channel.statistics:
        raise JsonError(f'{path}.statistics must not be empty where fusion is null')
    regions = channel.regions
    if regions is not None:
        if channel.fusion is None:
            raise JsonError(f'{path}.fusion must be an object where there are regions')
        sensitive = regions.sensitive_threshold
        if sensitive is not None and sensitive > regions.threshold:
            raise JsonError(f'{path}.regions.sensitive_threshold must not be above threshold')
        second = regions.second_look
        if second is not None and sensitive is None:
            raise JsonError(f'{path}.regions.second_look needs a sensitive_threshold beside it')
        if second is not None and second.sensitive_threshold > second.threshold:
            raise JsonError(
                f'{path}.regions.second_look.sensitive_threshold must not be above threshold'
            )


def _check_ascending(reference: tuple[float, ...], what: str) -> None:
    if list(reference) != sorted(reference):
        raise JsonError(f'{what} must be ascending')


def _check_once(names: list[str], where: str, what: str) -> None:
    if len(set(names)) != len(names):
        raise JsonError(f'{where} must not name a {what} twice')


def check_chain(manifest: Manifest) -> None:
    """Refuse networks whose tensors do not feed each other, the labels or the fused maps."""
    height, width = manifest.height, manifest.width
    if height % MAP_STRIDE or width % MAP_STRIDE:
        raise JsonError(f'input is {width}x{height} but must be a multiple of {MAP_STRIDE}')
    rows, columns = height // MAP_STRIDE, width // MAP_STRIDE
    given = {'image': Tensor('image', (1, height, width, 3), 'uint8')}

    def expect(what: str, name: str, shape: tuple[int, ...], dtype: str) -> None:
        tensor = given.get(name)
        if tensor is None:
            raise JsonError(f'{what} needs {name}, which no earlier network gives')
        if (tensor.shape, tensor.dtype) != (shape, dtype):
            raise JsonError(
                f'{what} needs {name} as {dtype} {shape}, not {tensor.dtype} {tensor.shape}'
            )

    for network_name, network in manifest.networks.items():
        for tensor in network.inputs:
            expect(f'networks.{network_name}', tensor.name, tensor.shape, tensor.dtype)
        for tensor in network.outputs:
            if tensor.name in given:
                raise JsonError(f'networks.{network_name} gives {tensor.name} a second time')
            given[tensor.name] = tensor
    expect('the segmentation', 'labels', (1, height, width), 'int32')
    for channel in manifest.channels.values():
        for each in channel.fusion.maps if channel.fusion is not None else ():
            shape = given[each.tensor].shape if each.tensor in given else ()
            planes = shape[1] if len(shape) == 4 else 1
            what = f'the map {each.name}'
            expect(what, each.tensor, (1, planes, rows, columns), 'float32')
            if each.channel >= planes:
                raise JsonError(
                    f'{what} reads channel {each.channel} of {each.tensor}, which has {planes}'
                )
        for statistic in channel.statistics:
            if statistic.tensor is None:
                continue
            shape = given[statistic.tensor].shape if statistic.tensor in given else ()
            count = shape[1] if len(shape) == 2 else 1
            what = f'the statistic {statistic.name}'
            # A detector's own frame score is (1,).
            expect(what, statistic.tensor, (1,) if len(shape) == 1 else (1, count), 'float32')
            if statistic.index >= count:
                raise JsonError(
                    f'{what} reads number {statistic.index} of {statistic.tensor}, which has '
                    f'{count}'
                )
