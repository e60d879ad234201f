"""Is the camera's image fit to be scored? Stamps, size, exposure and signs of life."""

from __future__ import annotations

import numpy as np

from ros2_ood_monitor.frame import RawCompressedImage, RawImage, UInt8Array
from ros2_ood_monitor.printable import is_printable, printable
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.decoding import (
    ImageLimits,
    InputFault,
    check_image,
    decode_compressed,
)

__all__ = ['InputCheck', 'InputFault', 'check_image', 'decode_compressed']

FROZEN_IMAGES = 3
"""A slow camera may repeat an image; this many in a row are not a coincidence."""

EXPOSURE_STRIDE = 8
"""Exposure is measured on every 8th pixel of every 8th row."""

GREY_LEVELS = 3
"""By so much the colours of a grey image may differ after a conversion."""
TOO_DARK_FOR_COLOR = 25
"""Below this grey level a few levels of difference are all that colour can be."""


class InputCheck:
    """The checks that keep state; one per camera and activation, used by one thread."""

    def __init__(self, config: SupervisionConfig) -> None:
        self.config = config
        self._size: tuple[int, int] | None = None
        self._stamp_ns: int | None = None
        self._previous: UInt8Array | None = None
        self._identical = 1
        self._identical_since_ns = 0

    def check(
        self,
        raw: RawImage | RawCompressedImage,
        received_ns: int,
        stamp_clock_ns: int,
        expects_color: bool = False,
    ) -> UInt8Array:
        """Return the image as uint8 RGB (H, W, 3); raises InputFault if it must not be scored.

        `received_ns` is its arrival on the steady clock, `stamp_clock_ns` the same moment on the
        clock that image stamps are made with. With `expects_color` a grey image is a fault.
        """
        # All state is updated even when an earlier check fails, so that one bad image does not
        # make the next good one look bad.
        stamp_fault = self._stamp_fault(raw.header.stamp.to_ns(), stamp_clock_ns)
        if isinstance(raw, RawCompressedImage):
            limits = ImageLimits(self.config.max_megapixels, self.config.max_image_mb)
            image = decode_compressed(raw, limits)
        else:
            image = check_image(raw)
        frozen_fault = self._frozen_fault(image, received_ns)
        fault = (
            _text_fault(raw)
            or stamp_fault
            or self._size_fault(image)
            or self._exposure_fault(image)
            or (_grey_fault(image) if expects_color and self.config.check_color else None)
            or frozen_fault
        )
        if fault is not None:
            raise fault
        return image

    def _stamp_fault(self, stamp_ns: int, clock_ns: int) -> InputFault | None:
        if stamp_ns == 0:
            return InputFault('stamp_zero', 'the image has no stamp; let the camera driver set it')
        previous, self._stamp_ns = self._stamp_ns, stamp_ns
        if previous is not None and stamp_ns <= previous:
            return InputFault(
                'stamp_back',
                f'the image stamp went back by {(previous - stamp_ns) / 1e6:.0f} ms'
                if stamp_ns < previous
                else 'the image stamp stands still',
            )
        if not self.config.check_stamp_age:
            return None
        age_ms = (clock_ns - stamp_ns) / 1e6
        if age_ms < -self.config.max_future_ms:
            return InputFault(
                'stamp_future',
                f'the image stamp is {-age_ms:.0f} ms in the future; synchronise the clocks',
            )
        if age_ms > self.config.max_age_ms:
            return InputFault(
                'stamp_old',
                f'the image was {age_ms:.0f} ms old on arrival, allowed are '
                f'{self.config.max_age_ms:g}; synchronise the clocks, or set '
                f'supervision.check_stamp_age to false for a recording',
            )
        return None

    def _size_fault(self, image: UInt8Array) -> InputFault | None:
        size = (image.shape[1], image.shape[0])
        if self._size is None:
            self._size = size
        if size == self._size:
            return None
        return InputFault(
            'size_changed',
            f'the camera changed from {self._size[0]}x{self._size[1]} to {size[0]}x{size[1]}; '
            f'restart the monitor if that is meant',
        )

    def _exposure_fault(self, image: UInt8Array) -> InputFault | None:
        grey = image[::EXPOSURE_STRIDE, ::EXPOSURE_STRIDE].mean(axis=2).ravel()
        dark_index = grey.size // 100
        bright_index = grey.size - 1 - dark_index
        ordered = np.partition(grey, (dark_index, bright_index))
        dark, bright = float(ordered[dark_index]), float(ordered[bright_index])
        if bright <= self.config.black_level:
            return InputFault('black', 'the image is black; is the lens covered?')
        if dark >= self.config.white_level:
            return InputFault('overexposed', 'the image is overexposed')
        if bright - dark < self.config.min_contrast:
            return InputFault('no_contrast', 'the image is one uniform colour')
        return None

    def _frozen_fault(self, image: UInt8Array, received_ns: int) -> InputFault | None:
        previous, self._previous = self._previous, image
        if previous is None or not _same(image, previous):
            self._identical = 1
            self._identical_since_ns = received_ns
            return None
        self._identical += 1
        seconds = (received_ns - self._identical_since_ns) / 1e9
        if self._identical < FROZEN_IMAGES or seconds < self.config.frozen_after_s:
            return None
        return InputFault(
            'frozen', f'the camera is frozen: the same image for the last {seconds:.1f} s'
        )


def _text_fault(raw: RawImage | RawCompressedImage) -> InputFault | None:
    """Find text that would not survive as a C string, or acts where it is shown."""
    kind = 'format' if isinstance(raw, RawCompressedImage) else 'encoding'
    for what, text in (('frame_id', raw.header.frame_id), (kind, getattr(raw, kind))):
        if not is_printable(text):
            return InputFault(
                'odd_text',
                f"the image's {what} holds characters that are not printable: "
                f'{printable(text, 60)}; correct the camera driver',
            )
    return None


def _grey_fault(image: UInt8Array) -> InputFault | None:
    """Find an image without colour; the noise of a colour camera alone gives it more."""
    sampled = image[::EXPOSURE_STRIDE, ::EXPOSURE_STRIDE]
    brightest = sampled.max(axis=2).ravel()
    chroma = brightest - sampled.min(axis=2).ravel()
    # Not the maximum, because a single dead pixel is coloured.
    rank = chroma.size - 1 - max(1, chroma.size // 100)
    if np.partition(chroma, rank)[rank] > GREY_LEVELS:
        return None
    if np.partition(brightest, rank)[rank] < TOO_DARK_FOR_COLOR:
        return None
    return InputFault(
        'grey',
        'the image has no colour, but the network was trained on colour; check the camera, or set '
        'supervision.check_color to false for a grey camera',
    )


def _same(image: UInt8Array, other: UInt8Array) -> bool:
    if image.shape != other.shape:
        return False
    # The images of a live camera differ within a few rows; only equal ones are compared in full.
    return np.array_equal(image[::32], other[::32]) and np.array_equal(image, other)
