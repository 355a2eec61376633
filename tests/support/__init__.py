"""What tests of several folders use: clocks, servers, drivers of tasks, and what stands in for parts of Airflow."""
