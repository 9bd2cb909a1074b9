"""MLflow's exporter, unmodified, without the half gigabyte that `import mlflow` asks for."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "build" / "mlflow" / "mlflow"

for name, folder in (("mlflow", PACKAGE), ("mlflow.server", PACKAGE / "server")):
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module

activate_prometheus_exporter = importlib.import_module(
    "mlflow.server.prometheus_exporter"
).activate_prometheus_exporter
