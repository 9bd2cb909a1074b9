"""gunicorn's configuration: four workers that are replaced now and then, and multiprom's hooks."""

from multiprom.gunicorn import child_exit, dirty_worker_exit, nworkers_changed, on_starting

__all__ = ("child_exit", "dirty_worker_exit", "nworkers_changed", "on_starting")

bind = "127.0.0.1:8000"
workers = 4
max_requests = 1000
max_requests_jitter = 100
