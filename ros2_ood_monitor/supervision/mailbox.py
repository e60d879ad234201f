"""A mailbox for one image: the newest replaces an unread older one, and posting never waits."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Mailbox(Generic[Item]):
    """Holds the newest item only; a queue would let the image lag behind the world."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self.dropped = 0
        """Items replaced or cleared unread."""

    def put(self, item: Item) -> None:
        """Post `item`, replacing one that was not taken yet."""
        with self._condition:
            self.dropped += self._item is not None
            self._item = item
            self._condition.notify()

    def clear(self) -> None:
        """Drop the waiting item."""
        with self._condition:
            self.dropped += self._item is not None
            self._item = None

    def close(self) -> None:
        """Wake the waiting taker for good; posting stays allowed and counts as before."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def take(self) -> Item | None:
        """Wait for an item and take it; returns None once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            if self._closed:
                return None
            item, self._item = self._item, None
            return item
