"""``airflow operations``, and the same as ``python -m airflow_provider_operations``."""
