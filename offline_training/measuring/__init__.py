"""What a user of a bundle meets: published regions and states, by the code of the robot."""
