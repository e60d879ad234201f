"""Is this image like those of the calibration? Statistics of the deepest tap."""
