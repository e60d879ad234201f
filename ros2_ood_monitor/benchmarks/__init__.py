"""What monitoring costs on this machine."""
