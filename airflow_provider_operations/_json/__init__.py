"""JSON of a server, read by nothing but the standard library."""
