"""What training and plain torch programs cost on this machine."""
