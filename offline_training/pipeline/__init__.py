"""From a data set to a bundle: configuration, stages, model card."""
