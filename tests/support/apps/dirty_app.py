"""A dirty application of gunicorn 25 and later that shows with a gauge that it lives."""

from gunicorn.dirty.app import DirtyApp
from prometheus_client import Counter, Gauge

STARTS = Counter("dirty_starts", "Dirty workers that ever started.")
WORKER = Gauge("dirty_worker", "One per dirty worker that lives.", multiprocess_mode="liveall")


class App(DirtyApp):  # type: ignore[misc]
    """Does nothing but start."""

    def init(self) -> None:
        """Run in each dirty worker after its fork."""
        STARTS.inc()
        WORKER.set(1)
