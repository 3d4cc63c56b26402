"""The command line: `poseloop`; a file for each group of commands."""

import importlib
import sys

from realtime.cli.app import app

__all__ = ["main"]

_URGENT = ("arm", "disarm")


def main() -> None:
    """Run the command line."""
    # An emergency stop must not wait for all that the other commands need, which takes seconds to import.
    urgent = sys.argv[1:2] and sys.argv[1] in _URGENT
    importlib.import_module("realtime.cli.arming" if urgent else "realtime.cli.commands")
    app()
