"""Runtime monitor that tells a robot when its camera network sees something unknown.

Three names are enough to score images from Python, without ROS and without a GPU::

    import cv2
    import ros2_ood_monitor as ood

    bundle = ood.ModelBundle.load('runs/demo/bundle')
    image = cv2.cvtColor(cv2.imread('image.png'), cv2.COLOR_BGR2RGB)
    with ood.Runner(bundle) as runner:
        runner.self_test()
        detection = runner.infer(ood.Frame(image))
    print(f'score {detection.score:.2f}')
    for region in detection.regions:
        print(f'unknown at ({region.x:.0f}, {region.y:.0f}), probability {region.peak:.2f}')

Importing this package loads nothing; the names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ros2_ood_monitor.bundle.model_bundle import ModelBundle
    from ros2_ood_monitor.frame import Frame
    from ros2_ood_monitor.inference.runner import Runner

__version__ = '0.2.0'
__all__ = ['Frame', 'ModelBundle', 'Runner', '__version__']

_MODULES = {
    'Frame': 'ros2_ood_monitor.frame',
    'ModelBundle': 'ros2_ood_monitor.bundle.model_bundle',
    'Runner': 'ros2_ood_monitor.inference.runner',
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
