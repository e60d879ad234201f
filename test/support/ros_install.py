"""The working tree as an installed ROS package, so that `ros2 launch` and `ros2 run` find it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'ros2_ood_monitor'


def install_links(prefix: Path) -> dict[str, str]:
    """Lay out `prefix` like colcon's symlink install; returns the environment that uses it."""
    share, lib = prefix / 'share' / PACKAGE, prefix / 'lib' / PACKAGE
    index = prefix / 'share/ament_index/resource_index/packages'
    for folder in (share, lib, index):
        folder.mkdir(parents=True)
    (index / PACKAGE).touch()
    for path in (ROOT / 'package.xml', *ROOT.glob('launch/*.py'), *ROOT.glob('config/*.*')):
        link = share / path.relative_to(ROOT)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)
    node = lib / 'monitor_node'
    node.write_text(
        f'#!{sys.executable}\n'
        'import sys\n'
        f'sys.path.insert(0, {str(ROOT)!r})\n'
        'from ros2_ood_monitor.node.lifecycle_node import main\n'
        'sys.exit(main())\n'
    )
    node.chmod(0o755)
    others = os.environ.get('AMENT_PREFIX_PATH')  # none where rclpy came with pip
    return {'AMENT_PREFIX_PATH': os.pathsep.join(filter(None, (str(prefix), others)))}
