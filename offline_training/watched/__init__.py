"""The network under watch: its normalization, taps and exported form."""
