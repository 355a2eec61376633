"""What a connection says, read and checked."""
