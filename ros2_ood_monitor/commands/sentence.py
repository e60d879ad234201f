"""What an error tells the user."""

from __future__ import annotations

EXTRA_OF_MODULE = {
    'cyclonedds': 'dds',
    'simplejpeg': 'jpeg',
    'mcap': 'bags',
    'rosbags': 'bags',
    'openvino': 'openvino',
    'onnxruntime': 'onnxruntime',
    'tensorrt': 'tensorrt',
    'pycuda': 'tensorrt',
    'tensorrt_rtx': 'tensorrt-rtx',
    'torch': 'training',
    'torchvision': 'training',
    'onnx': 'training',
    'onnxscript': 'training',
    'jsonargparse': 'training',
    'msgspec': 'training',
    'jinja2': 'pages',
    'markupsafe': 'pages',
    'safetensors': 'training',
    'sklearn': 'training',
    'scipy': 'training',
}
"""Which pip extra brings a module that may be absent."""


def missing_package(module: str) -> str | None:
    """Say how to install a module that an extra brings; None if none does."""
    package = module.partition('.')[0]
    extra = EXTRA_OF_MODULE.get(package)
    if extra is None:
        return None
    return (
        f"the Python package '{package}' is missing; "
        f"type: pip install '.[{extra}]' in the repository"
    )


def sentence(error: Exception) -> str | None:
    """Return what to tell the user, or None if `error` is a defect that needs its traceback.

    An error class of this project, an operating system error on a named file and a training that
    diverged speak to the user; a missing optional package is named with the extra that brings it.
    """
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return missing_package(error.name)
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    if isinstance(error, FloatingPointError):
        return str(error)
    if type(error).__module__.partition('.')[0] in ('ros2_ood_monitor', 'offline_training'):
        return ' '.join(str(error).split())
    return None
