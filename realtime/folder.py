"""The session folder: what it is called, where its parts lie, and its description in `session.json`."""

import contextlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DESCRIPTION = "session.json"
RIG = "rig.toml"
EVENTS = "events.log"
REPORT = "report.html"
FORMAT_VERSION = 1


class FolderError(OSError):
    """A session folder that cannot be made or read."""


def default_folder(name: str) -> Path:
    """Return the folder for a session of the rig `name` that starts now, below `sessions/` of the working directory."""
    return Path("sessions") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"


def create_folder(folder: Path) -> None:
    """Make a new session folder.

    Raises:
        FolderError: It exists and is not empty, or cannot be made. Nothing in it is touched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise FolderError(f"{folder}: cannot make the session folder: {error.strerror}") from error
    if occupied:
        raise FolderError(f"{folder}: expected a new or empty folder, got one with files in it; choose another --out")


def remove_if_empty(folder: Path) -> None:
    """Remove the folder of a session that did not come to write anything."""
    with contextlib.suppress(OSError):  # it has files in it, or is gone
        folder.rmdir()


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write `session.json` at once or not at all: a reader never sees half of it.

    Raises:
        OSError: It cannot be written, as on a full disk; nothing is left of it.
    """
    part = folder / f"{DESCRIPTION}.part"
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(description, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / DESCRIPTION)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def read_description(folder: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read `session.json`.

    Args:
        folder: The session folder.
        keys: What is needed of it; sections, with keys of their own.

    Raises:
        FolderError: `folder` is no session folder, one of another format, or one without these keys.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{folder}: not a session folder: cannot read {DESCRIPTION}: {error.strerror}") from error
    except ValueError as error:
        raise FolderError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        got = description.get("format_version") if isinstance(description, dict) else type(description).__name__
        raise FolderError(f"{path}: expected format_version {FORMAT_VERSION}, got {got}")
    missing = [key for key in keys if not isinstance(description.get(key), dict)]
    if missing:
        raise FolderError(f"{path}: expected the sections {', '.join(keys)}, got no {', '.join(missing)}")
    return description
