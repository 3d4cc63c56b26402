"""Offline: a whole video through model and tracker into SLEAP's files.

`reading` (decode ahead) → `finding` (every frame through the model) → `work_file` (on the disk, frame by frame) →
`following` (the live loop's tracker, or by `sleap_following` and `images` SLEAP's) → `finishing` (points smoothed, if
asked for) → `outputs` (`slp`, `analysis`, `table`); `track` runs them in order.
"""

from realtime.offline.errors import (
    OfflineError,
    OfflineInputError,
    OfflineNotInstalledError,
    OtherJobError,
    WorkFileError,
)
from realtime.offline.finding import BatchModel, Progress
from realtime.offline.track import TrackReport, TrackRequest, Unfinished, track_video
from realtime.offline.tracked import TrackedFrame, TrackedVideo

__all__ = [
    "BatchModel",
    "OfflineError",
    "OfflineInputError",
    "OfflineNotInstalledError",
    "OtherJobError",
    "Progress",
    "TrackReport",
    "TrackRequest",
    "TrackedFrame",
    "TrackedVideo",
    "Unfinished",
    "WorkFileError",
    "track_video",
]
