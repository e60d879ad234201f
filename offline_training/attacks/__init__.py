"""Adversarial attacks on the watched network."""
