"""Chaos suite: real processes that are killed, stopped and lied to; ``python -m tests.tooling.chaos.run``."""
