"""What is asked of Airflow itself, in the ways of each version."""
