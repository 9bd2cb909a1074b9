"""What uWSGI's module tells a worker, for code of the documents outside uWSGI."""


def worker_id() -> int:
    """Return the number of this worker."""
    return 7
