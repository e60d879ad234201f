"""Residual Flow (Zisselman and Tamar, CVPR 2020)."""
