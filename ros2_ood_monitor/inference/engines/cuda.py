"""CUDA memory and stream of the one thread that owns the GPU, through pycuda.

pycuda is imported when an engine is opened, never at import of this module, and never through
`pycuda.autoinit`, whose context belongs to whichever thread imported it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.inference.engines.base import EngineError

_log = logging.getLogger(__name__)
_local = threading.local()


class CudaThread:
    """The calling thread's CUDA context and stream, shared by all engines it opens.

    `acquire` and `release` count the users; the last release frees the context. Work of all
    engines is queued on the one stream, so that one engine may read what another one writes
    without waiting for it.
    """

    def __init__(self) -> None:
        self._cuda = _pycuda()
        self._owner = threading.get_ident()
        self._users = 0
        self._failure = ''
        with self.errors('cannot open the GPU'):
            self._cuda.init()
            device = self._cuda.Device(0)
            self.device_name = str(device.name())
            # The primary context is the one that other CUDA libraries in the process use too.
            self._context = device.retain_primary_context()
            self._context.push()
            self.stream = self._cuda.Stream()

    @staticmethod
    def acquire() -> CudaThread:
        """Return the calling thread's instance, opening the GPU for the first user."""
        thread: CudaThread | None = getattr(_local, 'thread', None)
        if thread is None:
            thread = _local.thread = CudaThread()
        thread._users += 1
        return thread

    def release(self) -> None:
        """Undo one `acquire`, in the same thread; never raises on a GPU that has failed."""
        if threading.get_ident() != self._owner:
            raise EngineError('the engine must be closed by the thread that opened it')
        self._users -= 1
        if self._users:
            return
        _local.thread = None
        try:
            del self.stream
            self._context.pop()
            self._context.detach()
        except self._cuda.Error as error:
            _log.warning('CUDA cannot close the GPU: %s', error)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn CUDA errors into EngineError; after the first, refuse all further work.

        Most CUDA errors are sticky: the context gives nothing but errors until the process ends.
        """
        if self._failure:
            raise EngineError(f'{self._failure} earlier; restart the process')
        if threading.get_ident() != self._owner:
            raise EngineError(
                'the engine belongs to the thread that opened it; open and use it in one thread'
            )
        try:
            yield
        except self._cuda.Error as error:
            self._failure = f'CUDA {what}: {error}'
            raise EngineError(f'{self._failure}; restart the process') from error

    def allocate(self, nbytes: int) -> Any:
        """Return device memory that is freed with the returned object."""
        with self.errors('cannot allocate device memory'):
            return self._cuda.mem_alloc(nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return a page-locked host array, which copies can reach without an extra step."""
        with self.errors('cannot allocate pinned memory'):
            host: NDArray[Any] = self._cuda.pagelocked_empty(shape, np.dtype(dtype))
            return host

    def upload(self, host: NDArray[Any], pointer: int) -> None:
        """Queue a copy from pinned host memory."""
        with self.errors('cannot copy to the GPU'):
            self._cuda.memcpy_htod_async(pointer, host, self.stream)

    def download(self, pointer: int, host: NDArray[Any]) -> None:
        """Copy to pinned host memory once all queued work is done, and wait for it."""
        with self.errors('failed while the networks ran'):
            self._cuda.memcpy_dtoh_async(host, pointer, self.stream)
            self.stream.synchronize()


class DeviceArray:
    """A tensor in device memory; engines take its pointer, `np.asarray` copies it to the host."""

    def __init__(self, thread: CudaThread, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._thread = thread
        self._memory = thread.allocate(int(np.prod(shape)) * self.dtype.itemsize)
        self._host: NDArray[Any] | None = None

    @property
    def pointer(self) -> int:
        """Device address."""
        return int(self._memory)

    def on(self, thread: CudaThread) -> bool:
        """Return whether `thread` may read it without a copy."""
        return self._thread is thread

    def staging(self) -> NDArray[Any]:
        """Return this tensor's page-locked counterpart on the host."""
        if self._host is None:
            self._host = self._thread.pinned(self.shape, self.dtype.name)
        return self._host

    def store(self, values: NDArray[Any]) -> None:
        """Queue a copy of host `values` to the device."""
        # A copy still in flight belongs to a run whose results this one makes invalid.
        np.copyto(self.staging(), values)
        self._thread.upload(self.staging(), self.pointer)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, *, copy: bool | None = None
    ) -> NDArray[Any]:
        """Return the content; the memory is reused by the next run."""
        host = self.staging()
        self._thread.download(self.pointer, host)
        return host.astype(dtype or self.dtype, copy=bool(copy))

    def free(self) -> None:
        """Give the memory back now rather than with the last reference."""
        self._memory = self._host = None


def gpu_ready() -> bool:
    """Return whether pycuda is installed and sees a GPU; opens no context."""
    try:
        cuda = _pycuda()
        cuda.init()
        return int(cuda.Device.count()) > 0
    except Exception:  # no library, no driver, no device: all mean no
        return False


def gpu_properties() -> dict[str, str]:
    """Return what an engine built for this GPU depends on; EngineError without a GPU."""
    cuda = _pycuda()
    try:
        cuda.init()
        device = cuda.Device(0)
        major, minor = device.compute_capability()
        driver = cuda.get_driver_version()
        name = str(device.name())
    except cuda.Error as error:
        raise EngineError(f'no usable GPU ({error}); choose another backend') from error
    return {'gpu': name, 'compute_capability': f'{major}.{minor}', 'driver': str(driver)}


def _pycuda() -> Any:
    try:
        import pycuda.driver
    except ImportError as error:
        raise EngineError(
            'pycuda is not installed, so TensorRT engines cannot run; '
            "type: pip install '.[tensorrt]' in the repository, or choose another backend"
        ) from error
    return pycuda.driver
