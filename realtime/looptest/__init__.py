"""The loop-back test: blinks an output of a rig, finds the blinks in the camera, says how long it takes to light."""

from realtime.looptest.blinks import NoLightError
from realtime.looptest.firing import StoppedError
from realtime.looptest.result import EchoResult, LightResult
from realtime.looptest.run import Request, run_looptest

__all__ = ["EchoResult", "LightResult", "NoLightError", "Request", "StoppedError", "run_looptest"]
