"""Input checks, alarm rule and state machine: pure Python with an injected clock."""
