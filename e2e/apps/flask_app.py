"""A Flask application with prometheus-flask-exporter, whose class the environment names."""

from __future__ import annotations

import os
import time

import multiprom

multiprom.install()

from flask import Flask
from prometheus_flask_exporter import multiprocess

app = Flask(__name__)

if os.environ["EXPORTER"] == "mlflow":
    from unpacked_mlflow import activate_prometheus_exporter

    activate_prometheus_exporter(app)
else:
    getattr(multiprocess, os.environ["EXPORTER"])(app)


@app.route("/")
@app.route("/slow")
def answer() -> str:
    """Answer with the pid of the worker."""
    time.sleep(0.002)
    return str(os.getpid())
