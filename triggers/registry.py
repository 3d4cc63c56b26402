"""The trigger drivers that a rig file can name.

Another package adds its own by an entry point in the group `poseloop.triggers`, name → "module:Class".
"""

import difflib
from importlib.metadata import EntryPoint, entry_points

from triggers.base import Trigger

GROUP = "poseloop.triggers"
DRIVERS = {
    "serial": "triggers.serial:SerialTrigger",
    "simulated": "triggers.simulated:SimulatedTrigger",
    "zmq": "triggers.zmq:ZmqTrigger",
    "recording": "triggers.recording:RecordingTrigger",
    "pulsepal": "triggers.pulsepal:PulsePalTrigger",
    "harp_behavior": "triggers.harp_behavior:HarpBehaviorTrigger",
    "osc": "triggers.osc:OscTrigger",
    "open_ephys": "triggers.open_ephys:OpenEphysTrigger",
    "lsl": "triggers.lsl:LslTrigger",
}


def names() -> tuple[str, ...]:
    """Return the names of all drivers, ours first."""
    return tuple(_table())


def load(name: str) -> type[Trigger]:
    """Return a driver's class; nothing but its module is imported.

    Raises:
        LookupError: There is no driver of this name; the message lists those there are.
        ImportError: The driver's module needs a package that is not installed.
    """
    table = _table()
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise LookupError(f"expected a trigger driver ({', '.join(table)}), got {name!r}{hint}")
    driver: type[Trigger] = table[name].load()
    return driver


def _table() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, target, GROUP) for name, target in DRIVERS.items()}
    others = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in ours}
    return ours | others
