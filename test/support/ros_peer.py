"""The other side of the tests that need ROS 2: a node that listens, calls and plays the camera."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from support.ros_loopback import stay_on_this_machine

stay_on_this_machine()

PATIENCE_S = 30.0
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Spinner:
    """A context of its own whose nodes are spun on a thread until `close`."""

    def __init__(self, domain_id: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.executor = SingleThreadedExecutor(context=self.context)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def close(self) -> None:
        nodes = self.executor.get_nodes()
        self.executor.shutdown()
        self._thread.join()
        for node in nodes:
            node.destroy_node()
        rclpy.shutdown(context=self.context)


class Peer(Spinner):
    """Collects what the monitor publishes."""

    def __init__(self, domain_id: int, namespace: str = '') -> None:
        super().__init__(domain_id)
        self.node = rclpy.create_node('peer', context=self.context, namespace=namespace)
        self.executor.add_node(self.node)
        self._changed = threading.Condition()
        self.got: dict[str, list[Any]] = {}
        self.listen(DiagnosticArray, 'ood/alert', LATCHED)

    def listen(self, message_type: type, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Collect the messages of a topic; (seconds, message) pairs."""
        messages = self.got.setdefault(topic, [])

        def received(message: Any) -> None:
            with self._changed:
                messages.append((time.monotonic(), message))
                self._changed.notify_all()

        self.node.create_subscription(message_type, topic, received, qos)
        return messages

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Return the first true value of `condition`, asked after every message."""
        with self._changed:
            done = self._changed.wait_for(condition, PATIENCE_S)
            assert done, f'waited {PATIENCE_S:.0f} s for {what}; last alert: {self.alert()}'
            return done

    def next(self, topic: str) -> Any:
        """Wait for a message of the topic that is not there yet."""
        seen = len(self.got[topic])
        self.wait(lambda: len(self.got[topic]) > seen, topic)
        return self.got[topic][seen][1]

    def alert(self) -> dict[str, str]:
        """The newest alert: its key-values, `level` and `message`."""
        alerts = self.got['ood/alert']
        return read_alert(alerts[-1][1]) if alerts else {}

    def wait_state(self, state: str, text: str = '') -> dict[str, str]:
        """Wait until an alert from now on has this state, and this text in its message."""
        start = len(self.got['ood/alert'])

        def found() -> dict[str, str] | None:
            for _, message in self.got['ood/alert'][start:]:
                alert = read_alert(message)
                if alert['state'] == state and text in alert['message']:
                    return alert
            return None

        return self.wait(found, f'{state} {text}')

    def call(self, service_type: type, name: str, request: Any) -> Any:
        """Call a service of a lifecycle node and return its response."""
        client = self.node.create_client(service_type, name)
        # A client may have matched a service that has not yet matched the client: DDS then drops
        # the request or its response. Endpoints are matched in the order of their creation, so a
        # node that answers a younger client has matched this one.
        state = self.node.create_client(GetState, f'{name.rpartition("/")[0]}/get_state')
        try:
            for each in (client, state):
                assert each.wait_for_service(PATIENCE_S), f'no service {each.srv_name}'
            tries = (_ask(state, GetState.Request(), 1.0) for _ in range(int(PATIENCE_S)))
            assert any(answer is not None for answer in tries), f'{name} has not matched'
            response = _ask(client, request, PATIENCE_S)
            assert response is not None, f'{name} did not answer'
            return response
        finally:
            self.node.destroy_client(client)
            self.node.destroy_client(state)


def _ask(client: Any, request: Any, patience_s: float) -> Any | None:
    answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.call_async(request).add_done_callback(answered.put)
    with contextlib.suppress(queue.Empty):
        return answered.get(timeout=patience_s).result()
    return None


def read_alert(message: DiagnosticArray) -> dict[str, str]:
    (status,) = message.status
    values = {item.key: item.value for item in status.values}
    return {**values, 'level': status.level, 'message': status.message}


class Camera:
    """Publishes what `image(number)` returns, uint8 RGB, on the node of `peer` until stopped."""

    def __init__(
        self,
        peer: Peer,
        shown: Callable[[int], np.ndarray],
        topic: str = 'image',
        encode: Callable[[np.ndarray], bytes] | None = None,
        rate_hz: float = 15.0,
    ) -> None:
        self.shown = shown
        self.sent: set[tuple[int, int]] = set()
        self._peer = peer
        self._encode = encode
        self._period_s = 1 / rate_hz
        self._publisher = peer.node.create_publisher(
            CompressedImage if encode else Image, topic, RELIABLE
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._peer.node.destroy_publisher(self._publisher)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._period_s):
            message = self._message(self.shown(number))
            message.header.frame_id = 'front_optical'
            message.header.stamp = self._peer.node.get_clock().now().to_msg()
            self.sent.add((message.header.stamp.sec, message.header.stamp.nanosec))
            self._publisher.publish(message)
            number += 1

    def _message(self, image: np.ndarray) -> Image | CompressedImage:
        if self._encode:
            return CompressedImage(format='png', data=array('B', self._encode(image)))
        height, width, _ = image.shape
        return Image(
            height=height,
            width=width,
            encoding='rgb8',
            step=3 * width,
            data=array('B', image.tobytes()),
        )
