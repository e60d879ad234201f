"""Disagreement of several predictions: dropout, augmentation, weight noise."""
