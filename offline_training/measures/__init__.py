"""Measures of a segmentation and of an anomaly score, streaming and mergeable."""
