"""The name of `ros2_ood_monitor.benchmarks.transport` in 0.1; goes with 0.4."""

from __future__ import annotations

import sys

from ros2_ood_monitor.benchmarks.transport import main

if __name__ == '__main__':
    sys.exit(main())
