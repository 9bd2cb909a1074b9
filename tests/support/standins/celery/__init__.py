"""Celery's signals, for code of the documents where Celery is not installed."""
