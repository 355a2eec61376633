"""API documents of your own, beside those in the package's table."""

from __future__ import annotations

from airflow_provider_operations._google_apis.lookup import UnknownMethod
from airflow_provider_operations._google_apis.own import ApiDocument, InvalidDocument
from airflow_provider_operations._google_apis.table import Method

__all__ = ["ApiDocument", "InvalidDocument", "Method", "UnknownMethod"]
