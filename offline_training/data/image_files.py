"""Images on disk as a sequence, each decoded when it is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from ros2_ood_monitor.frame import UInt8Array


class ImageFiles(Sequence[UInt8Array]):
    """Images at `paths`; subclasses say how one is decoded."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    @abstractmethod
    def decode(self, path: Path) -> UInt8Array:
        """Return the image of a file."""

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[UInt8Array]: ...
    def __getitem__(self, index: int | slice) -> UInt8Array | Sequence[UInt8Array]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return self.decode(self.paths[index])
