"""Workstation side: train, attack, calibrate and export the networks the monitor runs."""

import os

# A thread of OpenMP that waits spins, by default, and takes the core from the one it waits for: on
# two busy cores two threads were 16 times slower than one, and asleep they were as fast as it. It
# counts only where it is set before torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('KMP_BLOCKTIME', '0')
