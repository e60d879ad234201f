"""What cannot work is refused before anything is trained: a stage may come hours later."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from offline_training.data.base import VOID, DataError
from offline_training.detectors.dense_flow.flow_training import build_flow
from offline_training.detectors.observer.observer_training import build_observer
from offline_training.learning.read_settings import suggestion
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.added_channels import build_added
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import Context
from offline_training.pipeline.running import STAGES, other_settings, stage_entry
from offline_training.segmentation.backbones import without_weights
from offline_training.segmentation.backbones.base import Backbone
from offline_training.synthesis.cutouts import Cutouts
from offline_training.watched.graphs import tap_shapes

PACKAGES = {
    'image': {'sklearn': 'scikit-learn'},
    'calibrate': {'sklearn': 'scikit-learn'},
    'export': {'onnx': 'onnx', 'onnxscript': 'onnxscript', 'onnxruntime': 'onnxruntime'},
}
"""Modules that a stage imports and torch does not bring, with the package of each."""
TENSORRT = ('tensorrt', 'tensorrt_rtx')
FEWEST = {'train': 2, 'val': 2}
"""Images of a split: one frame cannot be compared with others."""


def refuse_stages(stages: Sequence[str]) -> None:
    """Raise ConfigError unless every one of `stages` exists, and there is one at least."""
    if not stages:
        raise ConfigError(f'--stages names nothing but the stages are {", ".join(STAGES)}')
    for name in stages:
        if name not in STAGES:
            raise ConfigError(
                f'--stages names {name!r} but the stages are {", ".join(STAGES)}; '
                f'{suggestion(name, list(STAGES), "take some of")}'
            )


def refuse(context: Context, stages: Collection[str], resume: bool) -> None:
    """Refuse, before the first of `stages`, what one of them could not work with.

    Raises:
        ConfigError: settings that do not fit each other, the network, the machine, or what the
            output folder holds.
        DataError: images, classes or cut-outs are missing.
    """
    config = context.config
    _order(context, stages)
    if not resume:
        _output(context)
    _packages(config, stages)
    for split, dataset in (('train', context.train), ('val', context.val)):
        if len(dataset) < FEWEST[split]:
            raise DataError(
                f'the {split} split of {_place(config)} has {len(dataset)} images and '
                f'{FEWEST[split]} are needed; add images'
            )
    if config.observer.objects is not None:
        Cutouts(Path(config.observer.objects))
    build_added(config)
    _network(context, stages)
    done = resume and stage_entry(context, 'backbone').why_not() is None
    if 'backbone' in stages and config.backbone.weights is None and not done:
        _classes(context)


def _order(context: Context, stages: Collection[str]) -> None:
    for name in [name for name in STAGES if name in stages]:
        for earlier in STAGES[name].needs:
            if earlier not in stages and not stage_entry(context, earlier).note.is_file():
                raise ConfigError(
                    f'stage {name!r} needs stage {earlier!r}, which has not finished in '
                    f'{context.output_dir}; run it first with --stages {earlier}'
                )


def _output(context: Context) -> None:
    for name in STAGES:
        if found := other_settings(context, name):
            raise ConfigError(
                f'{context.output_dir} holds a run with other settings ({found[0]}); choose '
                'another --output, or give --resume, which repeats the stages that have changed'
            )


def _packages(config: Config, stages: Collection[str]) -> None:
    wanted = {
        module: package for name in stages for module, package in PACKAGES.get(name, {}).items()
    }
    for module, package in wanted.items():
        if find_spec(module) is None:
            raise ConfigError(
                f'the Python package {package!r} is missing, which a later stage needs; type: '
                "pip install '.[training]' in the repository"
            )
    if (
        config.export.tensorrt == 'always'
        and 'export' in stages
        and not any(map(find_spec, TENSORRT))
    ):
        raise ConfigError(
            "export.tensorrt is 'always' but neither tensorrt nor tensorrt_rtx is installed; "
            "pip install 'ros2_ood_monitor[tensorrt-rtx]' or set it to auto"
        )


def _network(context: Context, stages: Collection[str]) -> None:
    config, size = context.config, context.config.input
    name = config.backbone.architecture
    network = without_weights(name, context.num_outputs)
    if 'export' in stages and not network.exportable:
        raise ConfigError(
            f'backbone.architecture {name} cannot be exported; take another one, or leave '
            f'export out: --stages {",".join(stage for stage in STAGES if stage != "export")}'
        )
    if 'backbone' in stages and config.backbone.weights is None:
        _fits(network, name, size.width, size.height, 'input.width and input.height')
        for phase in config.backbone.phases:
            keys = 'crop_width and crop_height in backbone.phases'
            _fits(network, name, phase.crop_width, phase.crop_height, keys)
    bundle = {'calibrate', 'evaluate', 'export'} & set(stages)
    if bundle or 'flow' in stages:
        build_flow(network, config.flow, size.height, size.width)
    if bundle or 'observer' in stages:
        build_observer(network, config.observer, size.height, size.width)


def _fits(network: Backbone, name: str, width: int, height: int, keys: str) -> None:
    """Refuse to train at a size that the network does not halve evenly to its deepest stride."""
    stride = math.lcm(*(stride for _, stride in tap_shapes(network, 256, 256).values()))
    if width % stride or height % stride:
        raise ConfigError(
            f'{keys} are {width}x{height} but {name} is trained at multiples of {stride}, its '
            f'deepest stride; take {_near(width, stride)}x{_near(height, stride)}'
        )


def _near(side: int, stride: int) -> int:
    return max(stride, round(side / stride) * stride)


def _classes(context: Context) -> None:
    """Refuse classes that no training label has; stops reading once all were seen.

    Rendered scenes are passed over: in a few of them not everything appears.
    """
    if context.config.data.dataset == 'synthetic':
        return
    dataset, names = context.train, context.train.class_names
    missing, void = set(range(len(names))), False
    # Far apart first: neighbouring frames show the same things.
    for index in sorted(range(len(dataset)), key=lambda index: (index % 16, index)):
        seen = set(np.unique(dataset[index].labels).tolist())
        missing -= seen
        void |= VOID in seen
        if not missing:
            return
    absent = ', '.join(names[label] for label in sorted(missing))
    if void and set(range(1, len(names))) <= missing:
        raise DataError(
            f'the training labels of {_place(context.config)} are 0 or 255 (void) alone, like '
            f'black-and-white masks, so that {absent} cannot be learnt: write the number of a '
            'class, 1 to '
            f'{len(names) - 1}, where the masks have 255.'
        )
    raise DataError(
        f'no training label of {_place(context.config)} has a pixel of {absent}: add images that '
        'show it, or take the class out of the list.'
    )


def _place(config: Config) -> str:
    return str(Path(config.data.data_dir)) if config.data.data_dir else config.data.dataset
