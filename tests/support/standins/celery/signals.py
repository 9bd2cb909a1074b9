"""One signal, whose receivers are called at once: the worker is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Signal:
    """A signal that was sent before anybody connected."""

    def connect(self, receiver: Callable[..., object]) -> Callable[..., object]:
        """Call the receiver."""
        receiver(sender=self)
        return receiver


worker_ready = Signal()
