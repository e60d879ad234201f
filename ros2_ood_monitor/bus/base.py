"""What the monitor needs of a message bus, and how ROS names become full names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from ros2_ood_monitor.messages.topics import Topic

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')


class MiddlewareError(RuntimeError):
    """The message bus cannot do what was asked; the message says why and what to do."""


class Middleware(Protocol):
    """A node on a message bus.

    Any thread may publish and count; the rest belongs to the thread that owns the node.
    """

    def advertise(self, topic: Topic) -> None:
        """Create the publisher, so that subscribers find it before the first message."""

    def publish(self, topic: Topic, message: object) -> None:
        """Send a message of `messages.types` on an advertised topic; never waits for long."""

    def subscribe(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        """Call `callback` with every decoded message, on a thread of the middleware."""

    def unsubscribe(self, topic: Topic) -> None:
        """End every subscription to the topic."""

    def subscriber_count(self, topic: Topic) -> int:
        """Return how many subscribers of an advertised topic there are now."""

    def publisher_count(self, topic: Topic) -> int:
        """Return how many publishers of a subscribed topic there are now."""

    def close(self) -> None:
        """Leave the bus after the last messages were delivered; idempotent."""


def resolve_name(name: str, namespace: str) -> str:
    """Return the full name (`/front/ood/alert`) of `name` in `namespace`.

    Raises MiddlewareError when the result is not a ROS 2 name.

    >>> resolve_name('ood/alert', 'front')
    '/front/ood/alert'
    >>> resolve_name('/diagnostics', 'front')
    '/diagnostics'
    """
    full = name if name.startswith('/') else f'/{namespace.strip("/")}/{name}'
    tokens = [token for token in full.split('/') if token]
    if not tokens or name.endswith('/') or not all(_NAME.fullmatch(token) for token in tokens):
        raise MiddlewareError(
            f'{full!r} is not a ROS 2 name; use letters, digits and _ between the slashes, '
            'and start no part with a digit'
        )
    return '/' + '/'.join(tokens)
