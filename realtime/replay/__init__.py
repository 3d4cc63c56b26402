"""Replay: the recorded frames, times and device answers through the identical loop, compared frame by frame."""

from realtime.replay.compare import Comparison, PoseShift
from realtime.replay.replay import ReplayError, replay_session

__all__ = ["Comparison", "PoseShift", "ReplayError", "replay_session"]
