"""The kinds of pose model that a rig file can name.

Another package adds its own by an entry point in the group `poseloop.models`, name → "module:Class".
"""

import difflib
from importlib.metadata import EntryPoint, entry_points

from models.base import PoseModel

GROUP = "poseloop.models"
KINDS = {
    "exported": "models.exported:ExportedModel",
    "guided": "models.guided:GuidedModel",
    "recorded": "models.recorded:RecordedModel",
}


def names() -> tuple[str, ...]:
    """Return the names of all kinds, ours first."""
    return tuple(_table())


def load(name: str) -> type[PoseModel]:
    """Return the class of a kind; nothing but its module is imported.

    Raises:
        LookupError: There is no kind of this name; the message lists those there are.
        ImportError: The kind's module needs a package that is not installed.
    """
    table = _table()
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise LookupError(f"expected a kind of model ({', '.join(table)}), got {name!r}{hint}")
    kind: type[PoseModel] = table[name].load()
    return kind


def _table() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, target, GROUP) for name, target in KINDS.items()}
    others = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in ours}
    return ours | others
