"""Packaging for colcon (ament_python) and for pip."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'ros2_ood_monitor'
HERE = Path(__file__).parent
VERSION = re.search(
    r"__version__ = '([^']+)'", (HERE / PACKAGE / '__init__.py').read_text(encoding='utf-8')
).group(1)

EXTRAS = {
    'openvino': ['openvino>=2024.0'],
    'onnxruntime': ['onnxruntime>=1.17'],
    # Needs an NVIDIA GPU and the CUDA toolkit (pycuda is compiled), hence not in [all].
    'tensorrt': ['tensorrt>=10.0', 'pycuda>=2024.1'],
    # Builds engines on any x86-64 Linux machine, with or without a GPU.
    'tensorrt-rtx': ['tensorrt-rtx>=1.0; platform_system == "Linux"'],
    'dds': ['cyclonedds>=0.10.5'],
    # Tells of damage in a JPEG, which OpenCV hides, and decodes faster.
    'jpeg': ['simplejpeg>=1.7'],
    # rclpy and Fast DDS without a ROS installation. There are no wheels of launch, ros2cli,
    # vision_msgs and cv_bridge, and none for other machines. Not for a sourced ROS 2.
    'ros': [
        f'{name}; platform_system == "Linux" and platform_machine == "x86_64"'
        for name in (
            'ros-jazzy-rclpy',
            'ros-jazzy-rmw-fastrtps-cpp',
            'ros-jazzy-sensor-msgs',
            'ros-jazzy-diagnostic-msgs',
            'ros-jazzy-lifecycle-msgs',
            'ros-jazzy-std-srvs',
        )
    ],
    'bags': ['mcap>=1.1', 'rosbags>=0.10', 'zstandard', 'lz4'],
    # HTML pages: the comparison's report.
    'pages': ['jinja2>=3.1', 'markupsafe>=2.1'],
    'training': [
        # One requirement set: torchvision works only with the torch it was built against.
        'torch>=2.6',
        'torchvision',
        'onnx>=1.16',
        'onnxscript>=0.2',
        # An exported network is compared with torch before it may leave.
        'onnxruntime>=1.17',
        'jsonargparse>=4.49',
        'msgspec>=0.19',
        'safetensors',
        'scikit-learn>=1.3',
        'scipy>=1.10',
        'matplotlib>=3.7',
    ],
    'test': [
        'pytest>=8',
        'pytest-cov>=7',
        'pytest-timeout',
        'pytest-xdist>=3.6',
        'coverage>=7.10',
        'hypothesis',
        'tensorboard',
        'import-linter>=2.17',
        'jsonschema',
        'ruff',
        'mypy>=1.10',
        'types-PyYAML',
        'mcap-ros2-support',
        'zuko',
        'catkin_pkg',
        'setuptools>=64',
    ],
}
EXTRAS['training'] += EXTRAS['pages']
EXTRAS['all'] = sorted({name for extra in EXTRAS if extra != 'tensorrt' for name in EXTRAS[extra]})


def installed(folder: str, pattern: str = '*') -> tuple[str, list[str]]:
    """Return the data_files entry that puts `folder` under share/<package>."""
    files = sorted(HERE.joinpath(folder).glob(pattern))
    return (
        f'share/{PACKAGE}/{folder}',
        [str(file.relative_to(HERE)) for file in files if file.is_file()],
    )


setup(
    name=PACKAGE,
    version=VERSION,
    description='Tells a robot, at frame rate, when its camera network sees something unknown',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='ros2_ood_monitor maintainers',
    maintainer_email='maintainers@ros2-ood-monitor.invalid',
    python_requires='>=3.10',
    packages=find_packages(
        include=[PACKAGE, f'{PACKAGE}.*', 'offline_training', 'offline_training.*']
    ),
    package_data={
        PACKAGE: ['py.typed'],
        f'{PACKAGE}.bundle': ['manifest.schema.json'],
        f'{PACKAGE}.pages': ['templates/*'],
        'offline_training.compare.report': ['templates/*'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        installed('launch', '*.launch.py'),
        installed('config'),
        installed('config/compare'),
        installed('config/training'),
    ],
    install_requires=['numpy>=1.21', 'opencv-python-headless>=4.5', 'PyYAML>=5.4', 'rich>=11'],
    extras_require=EXTRAS,
    zip_safe=True,
    entry_points={
        'console_scripts': [
            'ood-monitor = ros2_ood_monitor.cli:main',
            'monitor_node = ros2_ood_monitor.node.lifecycle_node:main',
        ],
    },
)
