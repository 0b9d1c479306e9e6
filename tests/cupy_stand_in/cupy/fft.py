"""Nothing that this project uses."""
