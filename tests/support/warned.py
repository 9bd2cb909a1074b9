"""What multiprom has warned of, for scripts in interpreters of their own.

Without a handler Python prints warnings to stderr, which such a script must leave empty.
"""

from __future__ import annotations

import logging

messages: list[str] = []


class _Keeping(logging.Handler):
    """Keeps the finished texts."""

    def emit(self, record: logging.LogRecord) -> None:
        messages.append(record.getMessage())


logger = logging.getLogger("multiprom")
logger.setLevel(logging.WARNING)
logger.addHandler(_Keeping())
logger.propagate = False
