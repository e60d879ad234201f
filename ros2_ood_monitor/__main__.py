"""`python -m ros2_ood_monitor` is `ood-monitor`."""

from __future__ import annotations

import sys

from ros2_ood_monitor.cli import main

sys.exit(main())
