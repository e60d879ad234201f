"""Stop a robot while its monitor does not say that the view is safe.

    python examples/stop_on_alert.py --namespace front

Listens to `ood/alert` and answers every heartbeat with `stop` (std_msgs/Bool): true unless the
state is NOMINAL or CAUTION. Silence of the monitor for 0.5 s is answered with true as well. If
this program itself falls silent, the robot must stop too; twist_mux does that for a lock that has
a timeout:

    locks:
      monitor: {topic: /front/stop, timeout: 0.5, priority: 255}
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ros2_ood_monitor.bus.command_line import add_bus_arguments, join, stop_on_signals
from ros2_ood_monitor.messages.topics import Qos, Topic
from ros2_ood_monitor.messages.types import Bool
from ros2_ood_monitor.node.watcher import watch

STOP = Topic('stop', 'std_msgs/msg/Bool', Qos(reliable=True, latched=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Answer alerts until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_bus_arguments(parser)
    args = parser.parse_args(argv)
    ended = stop_on_signals()
    middleware = join(args, 'stop_on_alert')
    middleware.advertise(STOP)
    middleware.publish(STOP, Bool(True))
    said = None
    try:
        for alert in watch(middleware, ended):
            stop = alert is None or alert.state.unsafe
            middleware.publish(STOP, Bool(stop))
            reason = 'the monitor is silent' if alert is None else alert.message
            if said != (stop, reason):
                said = (stop, reason)
                print('stop' if stop else 'drive', '-', reason, flush=True)
    finally:
        middleware.publish(STOP, Bool(True))
        middleware.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
