"""What a task remembers of its operation from try to try."""
