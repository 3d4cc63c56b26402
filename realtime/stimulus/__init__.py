"""From a decision or a timetable to a command on a wire: arms, delays, limits, deadlines, arming, receipts."""

from realtime.stimulus.action import Action, Intent, Receipt
from realtime.stimulus.arming import NoOrders, Order, Orders, ReplayedOrders, SafetyOptions
from realtime.stimulus.interlock import Interlock, LimitSpec
from realtime.stimulus.replayed import ReplayedTrigger, replayed_triggers
from realtime.stimulus.spec import BlockSpec, StimulusSpec, YokeSpec
from realtime.stimulus.stimulator import Stimulator, impossible_stimuli

__all__ = [
    "Action",
    "BlockSpec",
    "Intent",
    "Interlock",
    "LimitSpec",
    "NoOrders",
    "Order",
    "Orders",
    "Receipt",
    "ReplayedOrders",
    "ReplayedTrigger",
    "SafetyOptions",
    "Stimulator",
    "StimulusSpec",
    "YokeSpec",
    "impossible_stimuli",
    "replayed_triggers",
]
