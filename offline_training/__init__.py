"""Workstation side: train, attack, calibrate and export the networks the monitor runs."""

import os

# A thread of OpenMP that has nothing to do spins, by default, and takes the core from the one
# that is waited for: with something else running, two threads on two cores were 16 times slower
# than one. Asleep they cost nothing. It counts only where it is set before torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('KMP_BLOCKTIME', '0')
