"""Tracking: poses of one frame into tracks that stay with their animals.

One update runs through small stages, each in its own file: `detections` (clean, order, drop doubles), `state`
(what is known of every animal, and where it is expected now), `similarity` (cost of a pair), `assignment` (who is
whom), `probation` (is it an animal at all), `identity` (class evidence and confidence), `swaps` (suspected and
corrected exchanges); `update` runs them in order, `buffers` lays out their arguments in memory, `tracker` is the face
of it. `enrolment` gives names where no model tells them. `sleap` is another tracker, for work offline: SLEAP's own.
"""

from realtime.tracking.enrolment import EnrolmentOptions, Mark
from realtime.tracking.tracker import GreedyTracker, TrackerOptions

__all__ = ["EnrolmentOptions", "GreedyTracker", "Mark", "TrackerOptions"]
