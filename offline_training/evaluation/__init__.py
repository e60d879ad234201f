"""The sub-commands of `python -m offline_training.evaluate`, one module each."""
