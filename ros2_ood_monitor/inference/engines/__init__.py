"""Inference engines: interchangeable ways to run a bundle's networks with the same numbers."""
