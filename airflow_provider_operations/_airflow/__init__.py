"""What is asked of Airflow itself, as each version has to be asked."""
