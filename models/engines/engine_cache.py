"""Compiled engines on disk: minutes of TensorRT's work, done once a machine.

A compiled engine is code. It lies in a folder that only this user can write, and one whose checksum is wrong is not
loaded (TensorRT crashes on damaged ones) but built again.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_DIGEST_BYTES = 32


def cache_folder() -> Path:
    """Return `poseloop/engines` in the user's cache directory (`$XDG_CACHE_HOME` or `~/.cache`); created if missing."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore relative paths.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    folder = root / "poseloop" / "engines"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def cache_name(graph: bytes, *conditions: str | int) -> str:
    """Return a name that is another one for another graph or other conditions (GPU, versions, precision, batch)."""
    digest = hashlib.sha256(graph)
    for condition in conditions:
        digest.update(f"\0{condition}".encode())
    return digest.hexdigest()[:32]


def cached(path: Path, build: Callable[[], bytes]) -> bytes:
    """Return the engine in the file `path`; one that is missing or damaged is built and written."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        stored = b""
    digest, engine = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if engine and hashlib.sha256(engine).digest() == digest:
        return engine
    engine = build()
    _write(path, hashlib.sha256(engine).digest() + engine)
    return engine


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, also when two processes do so at once."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            temporary.unlink()
            raise
    temporary.replace(path)
