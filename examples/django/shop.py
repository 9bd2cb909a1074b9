"""A whole Django project in one file, whose views count what they do."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

REQUESTS = Counter("shop_requests", "Requests answered.")
SECONDS = Histogram("shop_request_seconds", "Time to answer a request.")

registry = CollectorRegistry()
MultiProcessCollector(registry)


@SECONDS.time()
def home(_: HttpRequest) -> HttpResponse:
    """Answer, and count it."""
    REQUESTS.inc()
    return HttpResponse("hello\n")


def metrics(_: HttpRequest) -> HttpResponse:
    """Give the metrics of all workers."""
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"])
urlpatterns = [path("", home), path("metrics", metrics)]
application = get_wsgi_application()
