"""Build every engine of a bundle before the robot needs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.engines.chain import needed_networks
from ros2_ood_monitor.inference.engines.tensorrt import cached_engine

_log = logging.getLogger(__name__)


def build_engines(
    bundle_dir: Path, backend: str, progress: Callable[[str], None] = _log.info
) -> list[Path]:
    """Build (or find in the cache) every engine that a bundle's monitor runs; return the files.

    Only TensorRT builds ahead of time; the CPU engines compile in about a second when opened and
    give an empty list. `progress` gets one sentence per step. Raises BundleError, EngineError.
    """
    bundle = ModelBundle.load(bundle_dir)
    if backend != 'tensorrt':
        progress(f'{backend} compiles the networks when it opens them; nothing to build')
        return []
    needed = needed_networks(bundle.networks.values(), bundle.needed_outputs())
    return [cached_engine(network, bundle.engines, progress) for network in needed]
