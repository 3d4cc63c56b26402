"""Outputs: which files a job leaves, and how they come to be there whole or not at all."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from realtime.offline.errors import OfflineInputError, OfflineNotInstalledError
from realtime.offline.table import write_csv
from realtime.offline.tracked import TrackedVideo

# Suffix → the packages that writing it needs beyond the base install.
FORMATS = {".slp": ("sleap_io", "h5py"), ".h5": ("h5py",), ".csv": ()}


def check_outputs(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Find out what would go wrong after hours of work.

    Raises:
        OfflineInputError: A suffix is not known, a folder is missing, a file is there already, or is named twice.
        OfflineNotInstalledError: A format needs a package that is not installed.
    """
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise OfflineInputError(f"{path}: expected a name that ends with {', '.join(FORMATS)}, got {path.name}")
        if not path.parent.is_dir():
            raise OfflineInputError(f"{path}: expected an output in a folder that is there, got {path.parent}")
        if path.is_dir() or (path.exists() and not overwrite):
            raise OfflineInputError(f"{path}: is there already; choose another name, or replace it with --overwrite")
        for package in FORMATS[path.suffix.lower()]:
            if importlib.util.find_spec(package) is None:
                raise OfflineNotInstalledError(
                    f"{path}: expected the package {package}, got none; install it with: pip install 'poseloop[sleap]'"
                )
    if len({path.resolve() for path in paths}) < len(paths):
        raise OfflineInputError(f"expected every output once, got {', '.join(map(str, paths))}")


def write_outputs(paths: Sequence[Path], video: TrackedVideo) -> None:
    """Write every output: beside its place first; when all are whole they are moved there.

    Raises:
        OfflineInputError: A format cannot hold these instances.
        OSError: The disk is full or failed.
    """
    with _drafts(paths) as drafts:
        for path, draft in drafts.items():
            _write(path, draft, paths, video)
            _sync(draft)
        for path, draft in drafts.items():
            draft.replace(path)


@contextlib.contextmanager
def _drafts(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    drafts = {path: path.with_name(f".{path.stem}.{os.getpid()}.draft{path.suffix}") for path in paths}
    try:
        yield drafts
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _write(path: Path, draft: Path, paths: Sequence[Path], video: TrackedVideo) -> None:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_csv(draft, video)
    elif suffix == ".slp":
        from realtime.offline.slp import write_slp  # noqa: PLC0415 - needs the extra `sleap`

        write_slp(draft, video)
    else:
        from realtime.offline.analysis import write_analysis  # noqa: PLC0415 - needs the extra `sleap`

        labels = next((other for other in paths if other.suffix.lower() == ".slp"), None)
        write_analysis(draft, video, labels and labels.resolve())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
