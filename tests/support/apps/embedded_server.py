"""gunicorn inside a program of its own, which hands it the hook only where there is a directory."""

import os
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

OPTIONS: dict[str, Any] = {
    "bind": "127.0.0.1:0",
    "workers": 2,
    "preload_app": True,
    "control_socket_disable": True,
}

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    from multiprom import gunicorn as hooks

    def child_exit(server: Any, worker: Any) -> None:
        """Hand the worker on."""
        hooks.child_exit(server, worker)

    OPTIONS["child_exit"] = child_exit


class Application(BaseApplication):  # type: ignore[misc]
    """The application under test with the options from above."""

    def load_config(self) -> None:
        """Apply the options that this gunicorn knows."""
        for name, value in OPTIONS.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Import the application in the master, as `preload_app` asks."""
        from metrics_app import app

        return app


if __name__ == "__main__":
    sys.exit(Application().run())
