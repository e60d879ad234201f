"""The monitor as an rclpy lifecycle node: `ros2 run ros2_ood_monitor monitor_node`.

Thin: what the node does is in `monitor_node`, shared with the DDS binding. Here is what only
ROS has: lifecycle, parameters, services, its clock and its log.

The alert is published from construction to the end, in every lifecycle state. `configure` reads
the bundle, `activate` subscribes to the camera and loads the engines, `deactivate` undoes that.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.bus.base import MiddlewareError
from ros2_ood_monitor.bus.rclpy import RosMiddleware
from ros2_ood_monitor.node.black_box import BlackBoxError, require_recording
from ros2_ood_monitor.node.monitor_node import MonitorNode
from ros2_ood_monitor.node.ros_parameters import RosParameters
from ros2_ood_monitor.parameter import ParameterError
from ros2_ood_monitor.parameter_file import NODE_NAME
from ros2_ood_monitor.parameters import default
from ros2_ood_monitor.printable import PrintableFormatter

Transition = Callable[['OodMonitorNode', LifecycleState], Any]

WATCH_S = 0.2
"""How often the process asks whether its engines have failed for good."""


def _reported(refusal: Any) -> Callable[[Transition], Transition]:
    """Log what a transition raises, say so in the alert, return `refusal`; rclpy says nothing."""

    def decorate(transition: Transition) -> Transition:
        @functools.wraps(transition)
        def reported(node: OodMonitorNode, state: LifecycleState) -> Any:
            try:
                return transition(node, state)
            except Exception as error:
                node.report(transition.__name__, error)
                return refusal

        return reported

    return decorate


class OodMonitorNode(LifecycleNode):  # type: ignore[misc]
    """Watches one camera; parameters as in docs/parameters.md, and `autostart`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            NODE_NAME, automatically_declare_parameters_from_overrides=True, **options
        )
        self._log_handler = _RosLogHandler(self.get_logger())
        logging.getLogger('ros2_ood_monitor').addHandler(self._log_handler)
        self._table = RosParameters(self)
        if not self.has_parameter('autostart'):
            self.declare_parameter('autostart', False)
        self._topic = self._camera_topic()
        self._configured = False
        self._bus = RosMiddleware(self)
        self.monitor_node = MonitorNode(
            self._bus,
            {
                **self._table.values,
                'camera.image_topic': self._topic,
                'black_box.directory': self._black_box_directory(),
            },
            _RosClock(self.get_clock()),
        )
        self.add_on_set_parameters_callback(self._check_parameters)
        self.create_service(Trigger, '~/reset', self._reset)
        self.monitor_node.start()

    def bring_up(self) -> None:
        """Configure and activate, as a lifecycle manager would."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    @_reported(TransitionCallbackReturn.FAILURE)
    def on_configure(self, state: LifecycleState) -> Any:
        """Check the parameters and read the bundle."""
        self._apply_parameters()
        if self._table.errors:
            raise ParameterError('; '.join(self._table.errors.values()))
        directory = str(self._table.values['bundle'])
        if not directory:
            raise ParameterError(
                f'no bundle is set; type "ros2 param set {self.get_fully_qualified_name()} bundle '
                '<directory>" and configure again, or launch with bundle:=<directory>'
            )
        bundle = ModelBundle.load(Path(directory).expanduser())
        self.monitor_node.load(bundle)
        self._configured = True
        self.get_logger().info(f'bundle {bundle.name} from {directory}')
        return super().on_configure(state)

    @_reported(TransitionCallbackReturn.FAILURE)
    def on_activate(self, state: LifecycleState) -> Any:
        """Subscribe to the camera; the engines are loaded on their own thread."""
        self.monitor_node.activate()
        self.get_logger().info(f'watching {self._topic}')
        return super().on_activate(state)

    @_reported(TransitionCallbackReturn.ERROR)
    def on_deactivate(self, state: LifecycleState) -> Any:
        """Stop scoring and free the engines."""
        self.monitor_node.deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> Any:
        """Let parameters that are not live be set again."""
        self._configured = False
        return super().on_cleanup(state)

    @_reported(TransitionCallbackReturn.ERROR)
    def on_shutdown(self, state: LifecycleState) -> Any:
        """Stop scoring for good; the alert goes on saying so until the process ends."""
        self.monitor_node.deactivate()
        return super().on_shutdown(state)

    @_reported(TransitionCallbackReturn.FAILURE)
    def on_error(self, state: LifecycleState) -> Any:
        """Go back to unconfigured; a second failure finalizes the node."""
        self._configured = False
        self.monitor_node.deactivate()
        return super().on_error(state)

    def report(self, transition: str, error: Exception) -> None:
        """Log why a transition failed and publish it as a FAULT."""
        text = ' '.join(f'{transition} failed: {error or type(error).__name__}'.split())
        self.get_logger().error(text)
        if not type(error).__module__.startswith('ros2_ood_monitor'):
            self.get_logger().error(''.join(traceback.format_exception(error)))
        self.monitor_node.monitor.fault(text)

    def destroy_node(self) -> None:
        """Publish a last alert that says the monitor has stopped, then leave."""
        self.monitor_node.stop()
        self._bus.close()
        logging.getLogger('ros2_ood_monitor').removeHandler(self._log_handler)
        super().destroy_node()

    def _camera_topic(self) -> str:
        # Remapping rules apply to the topic before /compressed is appended.
        try:
            return str(self.resolve_topic_name(str(self._table.values['camera.image_topic'])))
        except RuntimeError as error:  # what rcl raises ends with a place in its source
            reason = str(error).partition(', at ')[0]
            self._table.errors['camera.image_topic'] = f'camera.image_topic: {reason}'
            return str(self.resolve_topic_name(default('camera.image_topic')))

    def _black_box_directory(self) -> str:
        directory = str(self._table.values['black_box.directory'])
        if directory:
            try:
                require_recording()
            except BlackBoxError as error:
                self._table.errors['black_box.directory'] = str(error)
                return ''
        return directory

    def _check_parameters(self, changes: Sequence[Any]) -> SetParametersResult:
        result = self._table.check(changes, self._configured)
        if result.successful and self.executor is not None:
            # After the values are in place; the hook for that is missing in Humble.
            self.executor.create_task(self._apply_parameters)
        return result

    def _apply_parameters(self) -> None:
        self._table.refresh(self)
        self.monitor_node.configure(self._table.values)

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.monitor_node.monitor.reset()
        return response


class _RosClock:
    """What image stamps are made with: the system's time, or /clock with use_sim_time."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def now_ns(self) -> int:
        return int(self._clock.now().nanoseconds)


class _RosLogHandler(logging.Handler):
    """Passes what the shared code logs on to the node's logger, and so to /rosout."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self.setFormatter(PrintableFormatter())
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # One line each: rclpy ties a place in the code to one severity.
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns 1 when its engines have failed for good."""
    # rclpy's own handlers would close the publishers before the last alert is out.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = OodMonitorNode()
    except MiddlewareError as error:
        rclpy.logging.get_logger(NODE_NAME).fatal(str(error))
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter('autostart').value:
        executor.create_task(node.bring_up)
    failures: list[str] = []

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:
            failures.append(f'a callback failed: {error}')
            traceback.print_exc()
        stop.set()

    spinner = threading.Thread(target=spin, name='executor', daemon=True)
    spinner.start()
    while not stop.wait(WATCH_S):
        if node.monitor_node.monitor.failed:
            failures.append(node.monitor_node.monitor.failed)
            break
    executor.shutdown()
    spinner.join()
    for failure in failures:
        node.get_logger().fatal(f'{failure}; this process ends, let it be started again')
    node.destroy_node()
    if rclpy.ok():
        rclpy.shutdown()
    if failures:
        # An engine that hangs, or a GPU that died, must not keep the process from ending.
        os._exit(1)
    return 0
