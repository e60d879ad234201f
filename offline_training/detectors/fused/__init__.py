"""The maps of this package, fused as on the robot."""
