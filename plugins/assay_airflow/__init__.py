"""Assay in Airflow: hook, operator, triggers and sensors over Ray's Jobs API and the files that jobs leave."""
