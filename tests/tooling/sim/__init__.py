"""Simulation: the package's real code in virtual time, driven by a seed; ``python -m tests.tooling.sim.run``."""
