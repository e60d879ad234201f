from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of toy networks at 64x48; copy it before changing it."""
    pytest.importorskip('onnx')
    from tiny_bundle import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')
