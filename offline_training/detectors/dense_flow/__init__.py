"""A dense normalizing flow on the taps."""
