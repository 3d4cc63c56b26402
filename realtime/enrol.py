"""`poseloop enrol`: a person says who is who in one frame of a session; the answer is a section of a rig file."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.folder import EVENTS, read_description
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord, TracksRecord, unpack_tracks
from realtime.report.drawing import escape
from realtime.report.gallery import Pictures, picture, session_pictures
from realtime.report.html import document, table
from realtime.report.session_data import SessionData, load_session
from realtime.tracking import Mark
from realtime.tracks import Tracks

SEARCHED_S = 10.0
"""How much of the session is searched for a frame in which all animals are seen."""

PAGE = "enrol.html"


class EnrolError(ValueError):
    """Who is who cannot be said like that."""


@dataclass(frozen=True, slots=True)
class SeenAnimal:
    """One animal of the frame.

    Attributes:
        track_id: Its track.
        x_px, y_px: Mean of its nodes.
        length_px: Diagonal of the box around its nodes.
    """

    track_id: int
    x_px: float
    y_px: float
    length_px: float


@dataclass(frozen=True, slots=True)
class ChosenFrame:
    """The frame in which a person says who is who.

    Attributes:
        frame_id: Its `frame_id`.
        at_s: Its time from the session's first frame, s, exact to the nanosecond.
        tracks: Of this frame.
    """

    frame_id: int
    at_s: float
    tracks: Tracks

    @property
    def animals(self) -> tuple[SeenAnimal, ...]:
        """Those that are seen, by track id."""
        return tuple(
            _animal(int(track_id), xy[np.isfinite(xy).all(axis=1)].astype(np.float64))
            for track_id, xy in zip(self.tracks.track_ids, self.tracks.xy, strict=True)
            if np.isfinite(xy).any()
        )


def choose_frame(folder: Path, at_s: float | None = None) -> ChosenFrame:
    """Return the first frame from `at_s` on, or else the first one of those with the most animals in the first 10 s.

    Raises:
        FolderError: `folder` is no session folder.
        EnrolError: There is no such frame, or no animal in it.
    """
    read_description(folder)
    chosen: FrameRecord | None = None
    first_ns, most = 0, 0
    for record in read_log(folder / EVENTS):
        if not isinstance(record, FrameRecord):
            continue
        first_ns = first_ns or record.timestamp_ns
        elapsed_s = (record.timestamp_ns - first_ns) / 1e9
        if at_s is not None and elapsed_s >= at_s:
            chosen = record
            break
        if at_s is None and elapsed_s > SEARCHED_S:
            break
        if at_s is None and (n_seen := _n_seen(record.tracks)) > most:
            chosen, most = record, n_seen
    if chosen is None:
        looked = f"in its first {SEARCHED_S:g} s" if at_s is None else f"{at_s:g} s after its first frame or later"
        raise EnrolError(
            f"{folder}: expected a frame with an animal {looked}, found none; choose another time with --at"
        )
    frame = ChosenFrame(chosen.frame_id, (chosen.timestamp_ns - first_ns) / 1e9, unpack_tracks(chosen.tracks))
    if not frame.animals:
        raise EnrolError(
            f"{folder}: expected an animal in frame {frame.frame_id} ({frame.at_s:.3f} s), found none; "
            "choose another time with --at"
        )
    return frame


def make_marks(frame: ChosenFrame, names: Mapping[int, str]) -> tuple[Mark, ...]:
    """Return what a rig needs to find the named animals again.

    Args:
        frame: Where they are.
        names: Track id → name.

    Raises:
        EnrolError: A track is not seen in the frame, or a name is empty, not printable, or given twice.
    """
    seen = {animal.track_id: animal for animal in frame.animals}
    for track_id, name in names.items():
        if track_id not in seen:
            known = ", ".join(map(str, seen))
            raise EnrolError(f"expected a track that frame {frame.frame_id} shows ({known}), got {track_id}")
        if not name.strip() or not name.isprintable():
            raise EnrolError(f"track {track_id}: expected a name, got {name!r}")
        if list(names.values()).count(name) > 1:
            raise EnrolError(f"expected every name once, got {name!r} for several tracks")
    return tuple(
        Mark(name=name, at_s=frame.at_s, x_px=seen[track_id].x_px, y_px=seen[track_id].y_px)
        for track_id, name in sorted(names.items())
    )


def section(marks: tuple[Mark, ...], folder: Path, frame: ChosenFrame) -> str:
    """Return the `[identities]` section of a rig file."""
    lines = [f"# who is who in {folder.name}, frame {frame.frame_id}", "[identities]", 'by = "marks"']
    for mark in marks:
        lines += [
            "",
            "[[identities.marks]]",
            f"name = {json.dumps(mark.name, ensure_ascii=False)}",
            f"at_s = {mark.at_s:.9f}",
            f"x_px = {mark.x_px:.3f}",
            f"y_px = {mark.y_px:.3f}",
        ]
    return "\n".join(lines) + "\n"


def append_to_rig(rig: Path, text: str) -> None:
    """Append the section to a rig file, whole or not at all.

    Raises:
        EnrolError: The file cannot be read, is no TOML, or has such a section already; it is left as it is.
        OSError: It cannot be written.
    """
    try:
        before = rig.read_text(encoding="utf-8")
        settings = tomllib.loads(before)
    except OSError as error:
        raise EnrolError(f"{rig}: cannot read the rig file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EnrolError(f"{rig}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
    except tomllib.TOMLDecodeError as error:
        raise EnrolError(f"{rig}: not valid TOML: {error}") from error
    if "identities" in settings:
        raise EnrolError(f"{rig}: expected a rig without [identities], got one with it; remove that section first")
    part = rig.with_name(f"{rig.name}.part")
    part.write_text(f"{before.rstrip()}\n\n{text}", encoding="utf-8")
    part.replace(rig)


def write_page(folder: Path, frame: ChosenFrame) -> Path:
    """Write `enrol.html` into the session's folder, the frame with its tracks, and return its path."""
    data = load_session(folder)
    images = session_pictures(data, [frame.frame_id])
    page = folder / PAGE
    page.write_text(document(f"Who is who in {folder.name}", _body(data, frame, images), pictures=True), "utf-8")
    return page


def _body(data: SessionData, frame: ChosenFrame, images: Pictures) -> str:
    label = f"Frame {frame.frame_id}, {frame.at_s:.2f} s"
    drawing = picture(frame.tracks, images.by_frame_id.get(frame.frame_id), data.description, label)
    rows = [
        (str(animal.track_id), f"{animal.x_px:.0f}", f"{animal.y_px:.0f}", f"{animal.length_px:.0f}")
        for animal in frame.animals
    ]
    return (
        f"<header><p class='kicker'>poseloop enrol</p><h1>Who is who in {escape(data.folder.resolve().name)}</h1>"
        f"<p>{escape(label)}. {escape(images.note)}</p></header><section>"
        f'<div class="gallery"><figure>{drawing}</figure></div>'
        + table(("track", "x, px", "y, px", "length, px"), rows)
        + "</section>"
    )


def _animal(track_id: int, points: NDArray[np.float64]) -> SeenAnimal:
    x_px, y_px = points.mean(axis=0).tolist()
    return SeenAnimal(track_id, x_px, y_px, float(np.hypot(*np.ptp(points, axis=0))))


def _n_seen(tracks: TracksRecord) -> int:
    return int(np.isfinite(unpack_tracks(tracks).xy[..., 0]).any(axis=1).sum())


def as_dict(frame: ChosenFrame, marks: tuple[Mark, ...], page: Path) -> dict[str, Any]:
    """Return what was chosen as JSON-able values."""
    return {
        "frame_id": frame.frame_id,
        "at_s": frame.at_s,
        "animals": [
            {"track": animal.track_id, "x_px": animal.x_px, "y_px": animal.y_px, "length_px": animal.length_px}
            for animal in frame.animals
        ],
        "marks": [mark.model_dump() for mark in marks],
        "picture": str(page),
    }
