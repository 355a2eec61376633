"""The protocol without I/O: requests, answers, when to poll again, and how a wait ended."""
