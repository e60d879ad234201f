"""The message bus of an rclpy node: ROS names, parameters and remapping, our messages.

Messages pass in serialised form, as in `ros2 bag`: the bytes of `messages.cdr` are the bytes on
the wire. Both bindings publish the same, and no camera image is copied into Python objects.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

from ros2_ood_monitor.bus.base import MiddlewareError
from ros2_ood_monitor.messages.cdr import CdrError, deserialize, serialize
from ros2_ood_monitor.messages.definitions import fields
from ros2_ood_monitor.messages.topics import OPTIONAL, Qos, Topic
from ros2_ood_monitor.supervision.throttle import Throttle

_BYTE_TYPES = {'byte': 'octet', 'char': 'uint8', 'bool': 'boolean', 'float32': 'float',
               'float64': 'double'}  # fmt: skip
_ACKNOWLEDGE_S = 0.2


class RosMiddleware:
    """Publishers and subscriptions of `node`; implements `bus.base.Middleware`.

    The publishers are ordinary ones: a lifecycle publisher falls silent while its node is not
    active, and a monitor must never be silent. A topic of `topics.OPTIONAL` whose message package
    is not installed has no publisher: one warning, then its messages are dropped.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publishers: dict[Topic, Publisher] = {}
        self._unavailable = _missing_topics(node.get_logger())
        self._subscriptions: dict[Topic, list[tuple[Subscription, str]]] = {}

    def advertise(self, topic: Topic) -> None:
        """Create the publisher now; call it on the thread that owns the node."""
        if topic not in self._publishers and topic not in self._unavailable:
            self._publishers[topic] = self._node.create_publisher(
                ros_type(topic.type_name),
                topic.name,
                ros_qos(topic.qos, publisher=True),
                qos_overriding_options=_overridable(topic.qos),
            )

    def publish(self, topic: Topic, message: object) -> None:
        """Send a message; raises CdrError when it does not fit its type."""
        if topic not in self._unavailable:
            self._publishers[topic].publish(serialize(message))

    def subscribe(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        """Call `callback` with every message, on the executor's thread; it must not block."""
        malformed = Throttle()

        def decode(data: bytes) -> None:
            try:
                message = deserialize(topic.type_name, data)
            except CdrError as error:
                if malformed.ready():
                    self._node.get_logger().warning(
                        f'{topic.name}: ignored a malformed message: {error}'
                    )
                return
            callback(message)

        subscription = self._create_subscription(topic, decode)
        self._subscriptions.setdefault(topic, []).append((subscription, subscription.topic_name))

    def unsubscribe(self, topic: Topic) -> None:
        """End every subscription to the topic."""
        for subscription, _ in self._subscriptions.pop(topic, []):
            self._node.destroy_subscription(subscription)

    def subscriber_count(self, topic: Topic) -> int:
        """Return how many subscribers the topic's publisher is matched with."""
        if topic in self._unavailable:
            return 0
        return int(self._publishers[topic].get_subscription_count())

    def publisher_count(self, topic: Topic) -> int:
        """Return how many publishers offer a subscribed topic."""
        return sum(
            int(self._node.count_publishers(name))
            for _, name in self._subscriptions.get(topic, [])
        )

    def close(self) -> None:
        """Wait up to 0.2 s until the last messages were acknowledged; the node stays."""
        for topic in tuple(self._subscriptions):
            self.unsubscribe(topic)
        deadline = time.monotonic() + _ACKNOWLEDGE_S
        for publisher in self._publishers.values():
            remaining = max(0.0, deadline - time.monotonic())
            with contextlib.suppress(RuntimeError):  # a middleware that cannot wait
                publisher.wait_for_all_acked(Duration(seconds=remaining))

    def _create_subscription(self, topic: Topic, callback: Callable[[bytes], None]) -> Any:
        lost = Throttle()

        def message_lost(event: Any) -> None:
            if lost.ready():
                self._node.get_logger().warning(
                    f'{topic.name}: the network lost {event.total_count} messages so far; '
                    'use compressed images or larger socket buffers'
                )

        def create(events: SubscriptionEventCallbacks) -> Any:
            return self._node.create_subscription(
                ros_type(topic.type_name),
                topic.name,
                callback,
                ros_qos(topic.qos, publisher=False),
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                raw=True,
            )

        try:
            return create(SubscriptionEventCallbacks(message_lost=message_lost))
        except UnsupportedEventTypeError:  # rmw_zenoh
            return create(SubscriptionEventCallbacks())


def _missing_topics(logger: Any) -> frozenset[Topic]:
    """Return the optional topics that this ROS installation has no message for; warn once."""
    reasons = {topic: reason for topic in OPTIONAL if (reason := _misfit(topic.type_name))}
    if reasons:
        names = ' and '.join(topic.name for topic in reasons)
        logger.warning(f'not published: {names}; {next(iter(reasons.values()))}')
    return frozenset(reasons)


def _misfit(type_name: str) -> str:
    try:
        ros_type(type_name)
    except MiddlewareError as error:
        return str(error)
    return ''


def ros_type(type_name: str) -> type:
    """Return the class of `pkg/msg/Type`.

    Raises MiddlewareError when the package is missing or its message has other fields than ours:
    its bytes would be misread without anyone noticing.
    """
    package, _, name = type_name.partition('/msg/')
    try:
        cls: Any = getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise MiddlewareError(
            f'this ROS installation has no {type_name}; '
            f'type: sudo apt install ros-$ROS_DISTRO-{package.replace("_", "-")}'
        ) from error
    for item in fields(type_name):
        if item.nested:
            ros_type(item.type_name)
    installed = tuple(cls.get_fields_and_field_types().items())
    if installed != tuple(_ros_fields(type_name)):
        raise MiddlewareError(
            f'{type_name} of this ROS installation has other fields than this package knows; '
            f'install the {package} that belongs to Humble, Jazzy or Lyrical'
        )
    return cls  # type: ignore[no-any-return]


def _ros_fields(type_name: str) -> Iterator[tuple[str, str]]:
    for item in fields(type_name):
        base = _BYTE_TYPES.get(item.type_name, item.type_name).replace('/msg/', '/')
        if item.count is None:
            yield item.name, base
        else:
            yield item.name, f'{base}[{item.count}]' if item.count else f'sequence<{base}>'


def ros_qos(qos: Qos, publisher: bool) -> QoSProfile:
    """Return the QoS profile of a publisher or subscription.

    Deadline and lease are offered by publishers and never requested: a subscriber that requests
    them hears nothing from a publisher that does not offer them.
    """
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else DurabilityPolicy.VOLATILE
        ),
    )
    if publisher and qos.deadline_ms is not None:
        profile.deadline = Duration(nanoseconds=qos.deadline_ms * 1_000_000)
    if publisher and qos.lease_ms is not None:
        profile.liveliness = LivelinessPolicy.AUTOMATIC
        profile.liveliness_lease_duration = Duration(nanoseconds=qos.lease_ms * 1_000_000)
    return profile


def _overridable(qos: Qos) -> QoSOverridingOptions:
    # Whoever comes late must still get the newest alert, so a latched topic stays as it is.
    kinds = (
        (QoSPolicyKind.DEPTH,)
        if qos.latched
        else (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
    )
    return QoSOverridingOptions(kinds)
