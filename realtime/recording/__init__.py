"""What a session leaves behind: the event log, the frame log and the video, written by a process of their own."""

from realtime.recording.errors import (
    LogReadError,
    LogWriteError,
    RecorderNotStartedError,
    RecordingError,
    VideoWriteError,
)
from realtime.recording.recorder import Recorder, RecorderReport, RecordingOptions

__all__ = [
    "LogReadError",
    "LogWriteError",
    "Recorder",
    "RecorderNotStartedError",
    "RecorderReport",
    "RecordingError",
    "RecordingOptions",
    "VideoWriteError",
]
