"""Workstation side: train, attack, calibrate and export the networks the monitor runs."""
