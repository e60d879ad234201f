"""Mahalanobis distance of frames and pixels (Lee et al., NeurIPS 2018)."""
