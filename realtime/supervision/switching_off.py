"""Switching everything off by a way of its own: each device is opened anew, which switches it off, and told again."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
from pydantic import ValidationError

import triggers.registry
from realtime.supervision.protocol import TriggerSpec
from triggers.errors import TriggerError
from triggers.lock import DeviceLock, device_of

_LOCK_WAIT_S = 1.0  # the kernel takes the lock of a killed process back within a moment
_REPEAT_S = 1.0  # for receivers that connect again only now and then
_REPEAT_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one trigger: `off`, `gone with the loop` (it had no device), or why it could not be reached."""

    trigger: str
    text: str


def switch_off(specs: Mapping[str, TriggerSpec]) -> list[Outcome]:
    """Switch every output of every trigger off, each one even if another one cannot be reached."""
    outcomes: list[Outcome] = []
    for name, spec in specs.items():
        try:
            outcomes.append(Outcome(name, _switch_off(spec)))
        except (TriggerError, LookupError, ImportError, ValidationError, OSError) as error:
            outcomes.append(Outcome(name, f"not reached: {error}"))
    return outcomes


def _switch_off(spec: TriggerSpec) -> str:
    driver = triggers.registry.load(spec.driver)
    options = driver.Options.model_validate_json(msgspec.json.encode(spec.options))
    device = device_of(options)
    if device is None:
        return "gone with the loop"  # a simulation: opened anew, it would be another one
    with ExitStack() as opened:
        opened.enter_context(_lock(device))
        trigger = driver(options)
        opened.callback(trigger.close)
        trigger.open()
        end_s = time.monotonic() + _REPEAT_S
        while time.monotonic() < end_s:
            trigger.all_off()
            trigger.poll()
            time.sleep(_REPEAT_EVERY_S)
    return "off"


def _lock(device: str) -> DeviceLock:
    end_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return DeviceLock(device)
        except TriggerError:
            if time.monotonic() >= end_s:
                raise
            time.sleep(0.02)
