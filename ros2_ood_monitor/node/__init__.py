"""The monitor's node: topics, lifecycle, overlay, black box, and who listens to it."""
