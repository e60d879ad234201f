"""The bench: every detector on every set of anomalies, one table and one report."""
