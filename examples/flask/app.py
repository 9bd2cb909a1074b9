"""A Flask application that counts its requests; it knows nothing of multiprom."""

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug.middleware.dispatcher import DispatcherMiddleware

REQUESTS = Counter("shop_requests", "Requests answered.")
SECONDS = Histogram("shop_request_seconds", "Time to answer a request.")

app = Flask(__name__)


@app.get("/")
@SECONDS.time()
def home() -> str:
    """Answer, and count it."""
    REQUESTS.inc()
    return "hello\n"


registry = CollectorRegistry()
MultiProcessCollector(registry)
app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]  # Flask documents it so
    app.wsgi_app, {"/metrics": make_wsgi_app(registry)}
)
