"""Any ``google.longrunning`` operation over REST (AIP-151) as an ordinary Airflow task."""

__version__ = "0.1.0"
