"""gunicorn's configuration: four workers that are replaced now and then, and multiprom's hooks."""

from multiprom.gunicorn import *

bind = "127.0.0.1:8000"
workers = 4
max_requests = 1000
max_requests_jitter = 100
