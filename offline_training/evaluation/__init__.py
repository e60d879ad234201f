"""Measures of a segmentation and of an anomaly map, streaming and mergeable."""
