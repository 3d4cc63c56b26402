"""From a rule's edge to a command on a wire: limits, deadlines, arming, receipts."""

from realtime.stimulus.interlock import Interlock, LimitSpec
from realtime.stimulus.replayed import ReplayedTrigger, replayed_triggers
from realtime.stimulus.stimulator import Action, Intent, Receipt, Stimulator, StimulusSpec, impossible_stimuli

__all__ = [
    "Action",
    "Intent",
    "Interlock",
    "LimitSpec",
    "Receipt",
    "ReplayedTrigger",
    "Stimulator",
    "StimulusSpec",
    "impossible_stimuli",
    "replayed_triggers",
]
