"""What a session ran on: machine, operating system, versions; kept beside every latency figure."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = ("av", "msgspec", "numba", "numpy", "onnxruntime", "opencv-python-headless", "pyserial", "pyzmq")


def describe_machine() -> dict[str, Any]:
    """Return the machine's description as JSON-able values; a fact that cannot be read is None."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def poseloop_version() -> str:
    """Return the installed version of this distribution, or `unknown` for a bare checkout."""
    return _version("poseloop") or "unknown"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
