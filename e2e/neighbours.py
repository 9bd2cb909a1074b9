"""The table of neighbours: packages that count with prometheus_client, run unmodified."""

from __future__ import annotations

from typing import Any

import events
from drill import kill
from servers import GUNICORN, QUIET_NEWEST
from service import Case
from support.gunicorn_server import CONFIGURATION

FLASK = {"counter": "flask_http_request_total", "histogram": "flask_http_request_duration.*_count"}
MLFLOW = {
    "counter": "mlflow_http_request_total",
    "histogram": "mlflow_http_request_duration.*_count",
}
FASTAPI = {"counter": "http_requests_total", "histogram": "http_request_duration_seconds_count"}
STARLETTE = {
    "counter": "starlette_requests_total",
    "histogram": "starlette_request_duration_seconds_count",
}
DJANGO = {
    "counter": r'django_http_responses_total_by_status_view_method_total\{.*view="answer".*\}',
    "histogram": r'django_http_requests_latency_seconds_by_view_method_count\{.*view="answer".*\}',
}
DRAMATIQ = {
    "counter": "dramatiq_messages_total",
    "histogram": "dramatiq_message_duration_milliseconds_count",
}


def neighbour(name: str, package: str, counts: dict[str, str], *words: str, **more: Any) -> Case:
    """Return a case with a package that counts; it has no live gauge of its own."""
    more = {"does": "max_requests, SIGKILL", "actions": (kill,), "live": "", **counts, **more}
    return Case(name, words, package, **more)


def flask(name: str, package: str, counts: dict[str, str], kind: str, **variables: str) -> Case:
    """Return a case with Flask under gunicorn, configured as the exporter documents it."""
    return neighbour(
        name,
        package,
        counts,
        *GUNICORN,
        *(*QUIET_NEWEST, "--workers=2", "--max-requests=200"),
        *("--config={root}/e2e/apps/flask_conf.py", "flask_app:app"),
        variables={"EXPORTER": kind, **variables},
    )


def uvicorn(app: str) -> tuple[str, ...]:
    """Return the words that start an ASGI application."""
    return (
        *("{python}", "-m", "uvicorn", "--workers=2", "--port={port}"),
        *("--limit-max-requests=400", app),
    )


def order(name: str, what: str, **more: Any) -> Case:
    """Return a case with the calls of a server of language models."""
    words = ("{python}", "{root}/e2e/apps/llm_order.py", what, "{port}")
    more = {"does": "max_requests, SIGKILL", "actions": (kill,), **more}
    return Case(name, words, "prometheus_client", named=False, files="tmp/llm_multiproc*", **more)


NEIGHBOURS = [
    flask(
        "prometheus-flask-exporter, GunicornInternalPrometheusMetrics",
        "prometheus-flask-exporter",
        FLASK,
        "GunicornInternalPrometheusMetrics",
    ),
    flask(
        "prometheus-flask-exporter, GunicornPrometheusMetrics",
        "prometheus-flask-exporter",
        FLASK,
        "GunicornPrometheusMetrics",
        METRICS_PORT="{metrics}",
    ),
    flask("MLflow's exporter", "mlflow", MLFLOW, "mlflow"),
    neighbour(
        "prometheus-fastapi-instrumentator",
        "prometheus-fastapi-instrumentator",
        FASTAPI,
        *uvicorn("fastapi_app:app"),
        counts_late=True,
    ),
    neighbour(
        "starlette-exporter",
        "starlette-exporter",
        STARLETTE,
        *uvicorn("starlette_app:app"),
        counts_late=True,
    ),
    neighbour(
        "django-prometheus",
        "django-prometheus",
        DJANGO,
        *GUNICORN,
        *(*CONFIGURATION, *QUIET_NEWEST),
        *("--workers=2", "--max-requests=200", "django_app:app"),
    ),
    neighbour(
        "dramatiq's middleware",
        "dramatiq",
        DRAMATIQ,
        *("{python}", "{root}/e2e/apps/dramatiq_app.py"),
        does="HUP",
        actions=(events.reload,),
        can_kill=False,
        named=False,
        files="dramatiq",
        variables={
            "BROKER": "unix://{redis}",
            "PORT": "{port}",
            "dramatiq_prom_db": "{folder}/dramatiq",
            "dramatiq_prom_port": "{metrics}",
            "dramatiq_prom_host": "127.0.0.1",
        },
    ),
    order("the calls of LiteLLM", "litellm"),
    order("the calls of vLLM", "vllm", does="TERM", actions=(), can_kill=False),
    order("the calls of SGLang", "sglang", does="recycling, SIGKILL"),
]
