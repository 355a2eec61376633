"""What docs/deployment.md has users write."""

import airflow_provider_operations.preload  # noqa: F401  imported for what it imports
