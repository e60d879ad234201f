"""Detectors on backbone taps; every score is higher for more anomalous pixels."""
