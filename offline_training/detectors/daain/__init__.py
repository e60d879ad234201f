"""DAAIN: a normalising flow over a secret blue-noise sample of a network's activations."""
