"""Operators that start and cancel operations."""

from airflow_provider_operations.operators.cancel import CancelOperationOperator
from airflow_provider_operations.operators.run import RunOperationOperator

__all__ = ["CancelOperationOperator", "RunOperationOperator"]
