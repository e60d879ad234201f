"""Recorded images in, recorded messages out: sources, bags, replay."""
