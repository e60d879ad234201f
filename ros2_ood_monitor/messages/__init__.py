"""ROS messages without ROS: types, wire format, type hashes, topics, conversions."""
