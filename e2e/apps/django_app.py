"""A Django application with django-prometheus."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import multiprom

multiprom.install()

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path

if TYPE_CHECKING:
    from django.http import HttpRequest

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django_prometheus"],
    MIDDLEWARE=[
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ],
)


def answer(_: HttpRequest) -> HttpResponse:
    """Answer with the pid of the worker."""
    time.sleep(0.002)
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("", answer, name="answer"),
    path("slow", answer, name="answer"),
    path("", include("django_prometheus.urls")),
]
app = get_wsgi_application()
