"""The command line: `poseloop`; a file for each group of commands."""

from realtime.cli import (
    calibrating,
    enrolling,
    evaluating,
    explaining,
    importing,
    sessions,
    tracking,
    training,
    tuning,
    verifying,
)
from realtime.cli.app import app

__all__ = [
    "app",
    "calibrating",
    "enrolling",
    "evaluating",
    "explaining",
    "importing",
    "main",
    "sessions",
    "tracking",
    "training",
    "tuning",
    "verifying",
]


def main() -> None:
    """Run the command line."""
    app()
