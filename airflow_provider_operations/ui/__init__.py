"""Operations in Airflow's UI: a tab on the task instance page and a list of what is running."""
