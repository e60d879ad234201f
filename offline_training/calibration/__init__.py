"""From raw maps to probabilities, regions and an alarm rule."""
