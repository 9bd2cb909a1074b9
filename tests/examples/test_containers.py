"""The files for Docker and Kubernetes: valid, consistent, and as large as the application needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from support.commands import eventually, free_port, serving

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DOCKERFILE = EXAMPLES / "docker" / "Dockerfile"
DEPLOYMENT: Any = yaml.safe_load((EXAMPLES / "kubernetes" / "deployment.yaml").read_text())
POD_MONITOR: Any = yaml.safe_load((EXAMPLES / "kubernetes" / "podmonitor.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]
SIDECAR = "metrics"

# The rule of docs/guide.md.
FILE = 64 * 1024


def test_deployment_fits_the_schema() -> None:
    kubernetes_validate.validate(DEPLOYMENT, "1.31", strict=True)


def test_containers_share_an_in_memory_volume() -> None:
    (volume,) = POD["spec"]["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    directory = re.search(r"PROMETHEUS_MULTIPROC_DIR=(\S+)", DOCKERFILE.read_text())
    assert directory is not None
    for container in POD["spec"]["containers"]:
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": directory[1]}]


def test_volume_is_as_large_as_the_guide_says() -> None:
    configuration = (EXAMPLES / "flask" / "gunicorn.conf.py").read_text()
    application = (EXAMPLES / "flask" / "app.py").read_text()
    workers = int(re.findall(r"^workers = (\d+)", configuration, re.MULTILINE)[0])
    kinds = len(set(re.findall(r"= (Counter|Gauge|Histogram|Summary)\(", application)))
    limit = POD["spec"]["volumes"][0]["emptyDir"]["sizeLimit"]
    assert int(limit.removesuffix("Mi")) * 1024 * 1024 >= 2 * (workers + 1) * kinds * FILE


def test_pod_monitor_finds_the_sidecar() -> None:
    assert POD_MONITOR["spec"]["selector"]["matchLabels"] == POD["metadata"]["labels"]
    (endpoint,) = POD_MONITOR["spec"]["podMetricsEndpoints"]
    (sidecar,) = (c for c in POD["spec"]["containers"] if c["name"] == SIDECAR)
    (port,) = sidecar["ports"]
    assert endpoint["port"] == port["name"]
    assert sidecar["command"][-2:] == ["--port", str(port["containerPort"])]


def test_sidecar_shows_processes_and_files(tmp_path: Path) -> None:
    (sidecar,) = (c for c in POD["spec"]["containers"] if c["name"] == SIDECAR)
    number = str(sidecar["ports"][0]["containerPort"])
    port = free_port()
    script = " ".join(sidecar["command"]).replace(number, str(port))
    with serving(script, tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)):
        eventually(port, "/metrics", 'multiprom_files{state="archive"} 0.0')


def test_dockerfile_follows_hadolint() -> None:
    # DL3013 wants versions pinned, which is for the reader's own image to do.
    hadolint = Path(sys.executable).parent / "hadolint"
    checked = subprocess.run(
        [hadolint, "--ignore", "DL3013", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_dockerfile_copies_what_is_there() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    assert [source for source in copied if not (EXAMPLES / source).is_file()] == []
