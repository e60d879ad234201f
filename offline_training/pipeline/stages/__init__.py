"""The stages of `offline_training.train`; each module has `run(context)`."""
