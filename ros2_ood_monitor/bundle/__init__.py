"""The model bundle: what a robot needs to watch one segmentation network."""
