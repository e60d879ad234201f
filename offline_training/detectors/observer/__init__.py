"""The light observer head on the taps, after ObsNet."""
