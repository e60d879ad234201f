"""Is this image like those of the calibration? Statistics of the taps over the whole frame."""
