"""All commands, so that importing this file is having them."""

from realtime.cli import (
    arming,
    calibrating,
    enrolling,
    evaluating,
    explaining,
    importing,
    looptesting,
    quantising,
    sessions,
    tracking,
    training,
    tuning,
    verifying,
)
from realtime.cli.app import app

__all__ = [
    "app",
    "arming",
    "calibrating",
    "enrolling",
    "evaluating",
    "explaining",
    "importing",
    "looptesting",
    "quantising",
    "sessions",
    "tracking",
    "training",
    "tuning",
    "verifying",
]
