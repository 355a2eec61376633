"""What the documentation says, held against code, API documents and a real Airflow."""
