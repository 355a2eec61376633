"""What goes wrong with a command beside what the hook raises."""

from __future__ import annotations

__all__ = ["ListTooLong", "NoDatabase", "NoRecords", "NoService", "OrphansLeft"]


class ListTooLong(Exception):
    """A list is larger than what is printed."""


class NoService(Exception):
    """A service doesn't answer, or takes no credentials of the connection."""


class OrphansLeft(Exception):
    """Operations run on, or may, that no task waits for."""


class NoRecords(Exception):
    """Airflow has no records of operations, or none that can be read."""


class NoDatabase(Exception):
    """Airflow's database doesn't answer."""
