"""A ROS 2 node without ROS: an Eclipse Cyclone DDS participant with ROS names, types and QoS.

Other ROS 2 nodes see it with `ros2 node list` and talk to it as to any node. Messages pass as
plain CDR bytes of `messages.cdr`; cyclonedds's own codec takes over 100 ms for a camera image.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from cyclonedds._clayer import ddspy_take, ddspy_write
from cyclonedds.core import (
    DDSException,
    GuardCondition,
    InstanceState,
    Policy,
    Qos,
    ReadCondition,
    SampleState,
    ViewState,
    WaitSet,
)
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.internal import dds_infinity
from cyclonedds.pub import DataWriter, Publisher
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic as DdsTopic
from cyclonedds.util import duration

from ros2_ood_monitor.bus.base import MiddlewareError, resolve_name
from ros2_ood_monitor.bus.dds_types import dds_qos, dds_type
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.cdr import CdrError, deserialize, serialize
from ros2_ood_monitor.messages.types import Gid, NodeEntitiesInfo, ParticipantEntitiesInfo
from ros2_ood_monitor.supervision.throttle import Throttle

_LOG = logging.getLogger(__name__)
_ANY = SampleState.Any | ViewState.Any | InstanceState.Any
_LOCAL_PEER = '<Peers><Peer address="127.0.0.1"/></Peers>'
_LARGEST_DOMAIN = 232  # its ports are the last below 65536
_DISCOVERY_INFO = topics.Topic(
    'ros_discovery_info',
    'rmw_dds_common/msg/ParticipantEntitiesInfo',
    topics.Qos(reliable=True, latched=True),
)


def domain_from_environment() -> int:
    """Return ROS_DOMAIN_ID, 0 when it is not set; raises MiddlewareError on anything else."""
    text = os.environ.get('ROS_DOMAIN_ID') or '0'
    if not text.isdecimal() or int(text) > _LARGEST_DOMAIN:
        raise MiddlewareError(
            f'ROS_DOMAIN_ID is {text!r}; set it to a whole number from 0 to {_LARGEST_DOMAIN}'
        )
    return int(text)


def loopback_from_environment() -> bool:
    """Return whether to stay on this machine, False only if ROS was told to use the network.

    Unlike in ROS 2 the default is this machine: reaching a robot is a decision, not an accident.
    """
    if os.environ.get('ROS_LOCALHOST_ONLY') == '1':
        return True
    return os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper() != 'SUBNET'


def configuration(loopback: bool) -> str:
    """Return the Cyclone DDS configuration as XML, followed by CYCLONEDDS_URI off loopback."""
    # Few large datagrams: at the default size a camera image is 2000 of them. On a real network
    # they would be cut up again, and one lost piece would lose them all.
    network = (
        '<General><Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces>'
        '<AllowMulticast>false</AllowMulticast>'
        '<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize></General>'
    )
    own = (
        f'<CycloneDDS><Domain>{network if loopback else ""}'
        # Without multicast, processes find each other by port, one participant index each.
        '<Discovery><ParticipantIndex>auto</ParticipantIndex>'
        '<MaxAutoParticipantIndex>100</MaxAutoParticipantIndex>'
        f'{_LOCAL_PEER if loopback else ""}</Discovery>'
        # The default buffer loses half of a best-effort 720p stream. No minimum: Cyclone DDS
        # refuses to start when the kernel grants less than that.
        '<Internal><SocketReceiveBufferSize max="4MB"/>'
        # close() waits for acknowledgements itself, once and not for every writer.
        '<WriterLingerDuration>0s</WriterLingerDuration></Internal>'
        '</Domain></CycloneDDS>'
    )
    user = os.environ.get('CYCLONEDDS_URI', '')
    return own if loopback or not user else f'{own},{user}'


_domains: WeakValueDictionary[tuple[int, str], Domain] = WeakValueDictionary()
_domains_lock = threading.Lock()


def _open_domain(domain_id: int, xml: str) -> Domain:
    """Return the domain of this process; Cyclone DDS allows one configuration for each id."""
    with _domains_lock:
        domain = _domains.get((domain_id, xml))
        if domain is None:
            domain = Domain(domain_id, xml)
            _domains[domain_id, xml] = domain
        return domain


@dataclass(frozen=True, eq=False)
class _Subscription:
    topic: topics.Topic
    reader: Any
    condition: ReadCondition
    callback: Callable[[Any], None]
    malformed: Throttle


class DdsMiddleware:
    """One node on DDS; implements `bus.base.Middleware`.

    `domain_id` None takes ROS_DOMAIN_ID. With `loopback` nothing leaves this machine. Raises
    MiddlewareError when the participant cannot be created.
    """

    def __init__(
        self,
        node_name: str,
        namespace: str = '',
        domain_id: int | None = None,
        loopback: bool = True,
    ) -> None:
        resolve_name(node_name, namespace)
        self._node_name = node_name
        self._namespace = namespace
        domain_id = domain_from_environment() if domain_id is None else domain_id
        try:
            self._domain = _open_domain(domain_id, configuration(loopback))
            self._participant = DomainParticipant(
                domain_id, Qos(Policy.Userdata(b'enclave=/;'), Policy.EntityName(node_name))
            )
            self._publisher = Publisher(self._participant)
        except DDSException as error:
            raise MiddlewareError(
                f'cannot join DDS domain {domain_id} ({error}); free a participant index by '
                'stopping other nodes, or set another ROS_DOMAIN_ID'
            ) from error
        self._lock = threading.RLock()
        self._closed = False
        self._writers: dict[topics.Topic, Any] = {}
        self._subscriptions: list[_Subscription] = []
        self._dropped = Throttle()
        self._discovery = self._create_writer('ros_discovery_info', _DISCOVERY_INFO)
        self._wake = GuardCondition(self._participant)
        self._waitset = WaitSet(self._participant)
        self._waitset.attach(self._wake)
        self._announce()
        self._receiver = threading.Thread(target=self._receive, name='dds-receive', daemon=True)
        self._receiver.start()

    def advertise(self, topic: topics.Topic) -> None:
        """Create the publisher now, so that subscribers find it before the first message."""
        self._writer(topic)

    def publish(self, topic: topics.Topic, message: object) -> None:
        """Send a message; dropped with a warning when a reliable subscriber stands still.

        Raises CdrError when the message does not fit its type, MiddlewareError when DDS fails.
        """
        self._write(self._writer(topic), topic.name, message)

    def subscribe(self, topic: topics.Topic, callback: Callable[[Any], None]) -> None:
        """Call `callback` with every message, on the receiving thread; it must not block."""
        with self._lock:
            reader = DataReader(
                self._participant, self._dds_topic(topic), dds_qos(topic, publisher=False)
            )
            condition = ReadCondition(reader, _ANY)
            self._subscriptions.append(
                _Subscription(topic, reader, condition, callback, Throttle())
            )
            self._waitset.attach(condition)
            self._announce()

    def unsubscribe(self, topic: topics.Topic) -> None:
        """End every subscription to the topic."""
        with self._lock:
            ended = [item for item in self._subscriptions if item.topic == topic]
            self._subscriptions = [item for item in self._subscriptions if item.topic != topic]
            for subscription in ended:
                self._waitset.detach(subscription.condition)
            self._announce()

    def subscriber_count(self, topic: topics.Topic) -> int:
        """Return how many subscribers the topic's publisher is matched with."""
        return int(self._writer(topic).get_publication_matched_status().current_count)

    def publisher_count(self, topic: topics.Topic) -> int:
        """Return how many publishers this node's subscriptions to the topic are matched with."""
        with self._lock:
            readers = [s.reader for s in self._subscriptions if s.topic == topic]
        return sum(
            int(reader.get_subscription_matched_status().current_count) for reader in readers
        )

    def close(self) -> None:
        """Wait up to 0.2 s for acknowledgements, then leave the domain; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wait_for_acknowledgements(0.2)
        self._wake.set(True)
        if self._receiver is not threading.current_thread():
            self._receiver.join()
        # The bindings delete an entity with its last reference, children before parents.
        self._writers.clear()
        self._subscriptions.clear()
        del self._discovery, self._waitset, self._wake, self._publisher, self._participant

    def _wait_for_acknowledgements(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for writer in self._writers.values():
            remaining = max(0.0, deadline - time.monotonic())
            # The public wait_for_acks() of cyclonedds 11.0 fails on a timeout.
            writer._wait_for_acks(writer._ref, duration(seconds=remaining))

    def _writer(self, topic: topics.Topic) -> Any:
        with self._lock:
            if self._closed:
                raise MiddlewareError(f'{topic.name}: the node is closed')
            writer = self._writers.get(topic)
            if writer is None:
                writer = self._writers[topic] = self._create_writer(self._wire_name(topic), topic)
                self._announce()
            return writer

    def _wire_name(self, topic: topics.Topic) -> str:
        return 'rt' + resolve_name(topic.name, self._namespace)

    def _dds_topic(self, topic: topics.Topic) -> Any:
        return DdsTopic(self._participant, self._wire_name(topic), dds_type(topic.type_name))

    def _create_writer(self, wire_name: str, topic: topics.Topic) -> Any:
        dds_topic = DdsTopic(self._participant, wire_name, dds_type(topic.type_name))
        return DataWriter(self._publisher, dds_topic, dds_qos(topic, publisher=True))

    def _write(self, writer: Any, name: str, message: object) -> None:
        data = serialize(message)
        if len(data) % 4:
            data += bytes(-len(data) % 4)
        result = ddspy_write(writer._ref, data)
        if result == DDSException.DDS_RETCODE_TIMEOUT:
            if self._dropped.ready():
                _LOG.warning('%s: a message was dropped, a subscriber stands still', name)
        elif result < 0:
            raise MiddlewareError(f'{name}: DDS refused a message ({DDSException(result)})')

    def _announce(self) -> None:
        """Tell the ROS graph which endpoints belong to this node."""
        with self._lock:
            node = NodeEntitiesInfo(
                '/' + self._namespace.strip('/'),
                self._node_name,
                tuple(_gid(subscription.reader) for subscription in self._subscriptions),
                tuple(_gid(writer) for writer in self._writers.values()),
            )
            info = ParticipantEntitiesInfo(_gid(self._participant), (node,))
            self._write(self._discovery, _DISCOVERY_INFO.name, info)

    def _receive(self) -> None:
        while not self._closed:
            self._waitset.wait(dds_infinity)
            with self._lock:
                subscriptions = tuple(self._subscriptions)
            for subscription in subscriptions:
                self._deliver(subscription)

    def _deliver(self, subscription: _Subscription) -> None:
        samples = ddspy_take(subscription.reader._ref, _ANY, subscription.topic.qos.depth)
        if isinstance(samples, int):
            _LOG.error('%s: cannot receive (%s)', subscription.topic.name, DDSException(samples))
            return
        for data, info in samples:
            if not info.valid_data:  # a publisher left
                continue
            try:
                subscription.callback(deserialize(subscription.topic.type_name, data))
            except CdrError as error:
                if subscription.malformed.ready():
                    _LOG.warning(
                        '%s: ignored a malformed message: %s', subscription.topic.name, error
                    )
            except Exception:
                _LOG.exception('%s: the subscriber failed', subscription.topic.name)


def _gid(entity: Any) -> Gid:
    return Gid(np.frombuffer(entity.guid.bytes, np.uint8))
