"""Examine this machine: what the monitor can use here, what is missing, what to type."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SOCKET_BUFFER = 4 * 1024 * 1024
"""Bytes of receive buffer; with the usual 208 KiB, half of the 720p frames got lost."""

TRAINING = (
    'torch',
    'torchvision',
    'onnx',
    'onnxscript',
    'jsonargparse',
    'msgspec',
    'safetensors',
    'sklearn',
    'scipy',
    'matplotlib',
)
"""The modules of the extra [training]."""

FREE_DISK = 2 * 1024**3
"""Bytes that a demo, a bag and a black box need."""


class Status(Enum):
    """OK, MISSING (something does not work without it), OPTIONAL (absent, and not needed)."""

    OK = 'ok'
    MISSING = 'missing'
    OPTIONAL = 'optional'


@dataclass(frozen=True)
class Finding:
    """One line of the table; `advice` is a command to type, empty if there is nothing to do."""

    group: str
    name: str
    status: Status
    detail: str
    advice: str = ''


def examine(socket_limit: Path = Path('/proc/sys/net/core/rmem_max')) -> list[Finding]:
    """Examine everything; never raises for something absent or broken."""
    return [*_core(), *_engines(), *_middleware(), *_tools(), *_system(socket_limit)]


def able(findings: Iterable[Finding]) -> bool:
    """True if a monitor can run here: the core, at least one engine, at least one middleware."""
    groups: dict[str, list[bool]] = {}
    for finding in findings:
        groups.setdefault(finding.group, []).append(finding.status is Status.OK)
    return all(groups['core']) and any(groups['engine']) and any(groups['middleware'])


def examine_bundle(directory: Path) -> list[Finding]:
    """Load a bundle, score its self-test images with every engine that works here.

    The last line, of group `calibration`, says whether its rate of false alarms is certified.
    """
    from ros2_ood_monitor.bundle.certification import uncertified
    from ros2_ood_monitor.bundle.model_bundle import BundleError, ModelBundle
    from ros2_ood_monitor.inference.engines.selection import available_backends
    from ros2_ood_monitor.inference.runner import Runner

    try:
        bundle = ModelBundle.load(directory)
    except BundleError as error:
        return [Finding('bundle', directory.name, Status.MISSING, str(error))]

    def tested(backend: str) -> Finding:
        try:
            with Runner(bundle, backend=backend) as runner:
                runner.self_test()
        except Exception as error:  # whatever an engine does, the table goes on
            return Finding('bundle', backend, Status.MISSING, str(error))
        return Finding('bundle', backend, Status.OK, 'self-test passed')

    reason = uncertified(bundle.channels)
    certified = Status.OPTIONAL if reason else Status.OK
    return [
        *(tested(backend) for backend in available_backends()),
        Finding('calibration', bundle.name, certified, reason or 'certified'),
    ]


def _probe(module: str, distribution: str) -> tuple[bool, str]:
    """Import `module`; returns whether it works, and its version or the reason.

    Importing is the point: a wheel whose native library does not load (libGL, an old glibc) is
    installed and yet useless.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return False, 'not installed' if error.name == module else f'needs {error.name}'
    except Exception as error:
        reason = str(error).strip().splitlines()
        return False, f'installed, does not load: {reason[0] if reason else type(error).__name__}'
    return True, _version(distribution)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return 'present'


def _package(
    group: str, module: str, distribution: str, absent: Status, extra: str, without: str = ''
) -> Finding:
    """Return whether a package works; `without` is what there is not where it is absent."""
    works, detail = _probe(module, distribution)
    if not works and without:
        detail = f'{detail}: {without}'
    advice = f"pip install '.[{extra}]'" if extra else f'pip install {distribution}'
    return Finding(
        group, distribution, Status.OK if works else absent, detail, '' if works else advice
    )


def _core() -> list[Finding]:
    recent = sys.version_info >= (3, 10)
    return [
        Finding(
            'core',
            'python',
            Status.OK if recent else Status.MISSING,
            platform.python_version(),
            '' if recent else 'sudo apt install python3.11 python3.11-venv',
        ),
        _package('core', 'numpy', 'numpy', Status.MISSING, ''),
        _package('core', 'cv2', 'opencv-python-headless', Status.MISSING, ''),
        _package('core', 'yaml', 'PyYAML', Status.MISSING, ''),
    ]


def _engines() -> list[Finding]:
    engines = [
        _package('engine', 'openvino', 'openvino', Status.OPTIONAL, 'openvino'),
        _package('engine', 'onnxruntime', 'onnxruntime', Status.OPTIONAL, 'onnxruntime'),
        _tensorrt(),
    ]
    if not any(engine.status is Status.OK for engine in engines):
        first = engines[0]
        engines[0] = Finding(first.group, first.name, Status.MISSING, first.detail, first.advice)
    return engines


def _tensorrt() -> Finding:
    """TensorRT runs on the robot's GPU; without one, tensorrt-rtx still builds engines."""
    gpu = _has_gpu()
    libraries = {
        name: _probe(name.replace('-', '_'), name)[1]
        for name in ('tensorrt', 'tensorrt-rtx')
        if _probe(name.replace('-', '_'), name)[0]
    }
    pycuda, _ = _probe('pycuda', 'pycuda')
    found = ', '.join(f'{name} {version}' for name, version in libraries.items()) or 'no TensorRT'
    if gpu and libraries and pycuda:
        return Finding('engine', 'tensorrt', Status.OK, f'{found}, pycuda, GPU')
    if gpu:
        missing = 'TensorRT' if not libraries else 'pycuda'
        return Finding(
            'engine',
            'tensorrt',
            Status.OPTIONAL,
            f'GPU present, {missing} missing',
            "pip install '.[tensorrt]'",
        )
    builds = '; builds engines, runs none' if libraries else ''
    return Finding('engine', 'tensorrt', Status.OPTIONAL, f'{found}, no NVIDIA GPU{builds}')


def _has_gpu() -> bool:
    """Ask the CUDA driver library; importing a CUDA package would create a context."""
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    count = ctypes.c_int(0)
    return bool(
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def _middleware() -> list[Finding]:
    without = 'no play, watch; run only with rclpy'
    dds = _package('middleware', 'cyclonedds', 'cyclonedds', Status.OPTIONAL, 'dds', without)
    works, detail = _probe('rclpy', 'rclpy')
    distro = os.environ.get('ROS_DISTRO', '')
    if works:
        rmw = os.environ.get('RMW_IMPLEMENTATION', 'default RMW')
        ros = Finding('middleware', 'rclpy', Status.OK, f'{distro or "not sourced"}, {rmw}')
    else:
        installed = sorted(path.name for path in Path('/opt/ros').glob('*') if path.is_dir())
        advice = f'source /opt/ros/{installed[-1]}/setup.bash' if installed else ''
        ros = Finding(
            'middleware',
            'rclpy',
            Status.OPTIONAL,
            'ROS 2 installed, not sourced' if installed else f'no ROS 2 ({detail})',
            advice,
        )
    if Status.OK not in (dds.status, ros.status):
        dds = Finding(dds.group, dds.name, Status.MISSING, dds.detail, dds.advice)
    return [dds, ros, *_vision_msgs(works)]


def _vision_msgs(ros: bool) -> list[Finding]:
    if not ros or importlib.util.find_spec('vision_msgs') is not None:
        return []
    detail = 'absent: the ROS node publishes no ood/regions, ood/label_info'
    advice = 'sudo apt install ros-$ROS_DISTRO-vision-msgs'
    return [Finding('messages', 'vision_msgs', Status.OPTIONAL, detail, advice)]


def _tools() -> list[Finding]:
    return [
        _package('bags', 'mcap', 'mcap', Status.OPTIONAL, 'bags', 'no replay, no black box'),
        _package(
            'images',
            'simplejpeg',
            'simplejpeg',
            Status.OPTIONAL,
            'jpeg',
            'damage in a JPEG is not noticed',
        ),
        _package('bags', 'rosbags', 'rosbags', Status.OPTIONAL, 'bags', 'no rosbags-convert'),
        _training(),
    ]


def _training() -> Finding:
    # Looked for and not imported: that takes seconds, and a robot has no use for them.
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if not missing:
        return Finding('training', 'torch', Status.OK, _version('torch'))
    detail = 'not installed' if missing == list(TRAINING) else f'missing: {", ".join(missing)}'
    return Finding('training', 'torch', Status.OPTIONAL, detail, "pip install '.[training]'")


def _system(socket_limit: Path) -> list[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    findings = [
        Finding('machine', 'CPU', Status.OK, f'{os.cpu_count()} cores, {platform.machine()}'),
        Finding(
            'machine',
            'disk',
            Status.OK if free >= FREE_DISK else Status.MISSING,
            f'{free / 1024**3:.1f} GiB free here',
            '' if free >= FREE_DISK else 'df -h . ; du -sh runs/*',
        ),
    ]
    try:
        limit = int(socket_limit.read_text(encoding='ascii'))
    except (OSError, ValueError):
        return findings  # not Linux: the limit has another name
    enough = limit >= SOCKET_BUFFER
    findings.append(
        Finding(
            'machine',
            'net.core.rmem_max',
            Status.OK if enough else Status.MISSING,
            f'{limit / 1024**2:.1f} MiB' + ('' if enough else ': large camera frames get lost'),
            '' if enough else f'sudo sysctl -w net.core.rmem_max={SOCKET_BUFFER}',
        )
    )
    return findings
