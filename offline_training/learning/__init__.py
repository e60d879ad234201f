"""What every training shares: loop, stored files, progress."""
