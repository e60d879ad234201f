"""Where not to trust the segmentation."""
