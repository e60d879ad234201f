"""Message buses: DDS without ROS, and rclpy."""
