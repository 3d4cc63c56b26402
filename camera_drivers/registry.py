"""The camera drivers that a rig file can name.

Another package adds its own by an entry point in the group `poseloop.camera_drivers`, name → "module:Class".
"""

import difflib
from importlib.metadata import EntryPoint, entry_points

from camera_drivers.base import Camera

GROUP = "poseloop.camera_drivers"
DRIVERS = {
    "sim": "camera_drivers.sim:SimCamera",
    "video": "camera_drivers.video:VideoCamera",
    "session": "camera_drivers.session:SessionCamera",
    "opencv": "camera_drivers.opencv:OpenCVCamera",
}


def names() -> tuple[str, ...]:
    """Return the names of all drivers, ours first."""
    return tuple(_table())


def load(name: str) -> type[Camera]:
    """Return a driver's class; nothing but its module is imported.

    Raises:
        LookupError: There is no driver of this name; the message lists those there are.
        ImportError: The driver's module needs a package that is not installed.
    """
    table = _table()
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise LookupError(f"expected a camera driver ({', '.join(table)}), got {name!r}{hint}")
    driver: type[Camera] = table[name].load()
    return driver


def _table() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, target, GROUP) for name, target in DRIVERS.items()}
    others = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in ours}
    return ours | others
