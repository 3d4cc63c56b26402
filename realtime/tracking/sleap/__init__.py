"""SLEAP's own tracker, reproduced for work offline: the tracks that SLEAP 1.4.1 gives, its quirks included.

One frame runs through `candidates` (earlier poses, as they were or moved along with the picture), `similarity` (how
well each fits), `matching` (who is whom); `tracker` runs them in order and starts new tracks, `breaks` is the final
pass over all frames. It has no gate and knows no time: for a live loop there is `GreedyTracker`.
"""

from realtime.tracking.sleap.breaks import connect_single_breaks
from realtime.tracking.sleap.options import SleapTrackerOptions
from realtime.tracking.sleap.tracker import Assigned, SleapTracker

__all__ = ["Assigned", "SleapTracker", "SleapTrackerOptions", "connect_single_breaks"]
