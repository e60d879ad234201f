"""Bindings of the monitor to a robot's message bus: DDS without ROS, and rclpy."""
