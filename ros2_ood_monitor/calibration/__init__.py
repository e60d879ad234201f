"""From scalars of normal frames to references, alarm rules, region thresholds and certificates."""
