"""Scores of the logits alone, ODIN and standardized max logit."""
