"""The longest bouts of each rule as pictures: the frame in the middle of the bout, with the skeletons on it."""

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from camera_drivers.errors import CameraError
from camera_drivers.frame_log import read_frame_log
from camera_drivers.session import SessionCamera, SessionOptions, TakenFrame
from realtime.decision import State
from realtime.folder import EVENTS
from realtime.recording.errors import LogReadError
from realtime.recording.log import read_log
from realtime.recording.protocol import FRAMES_FILE, VIDEO_FILE
from realtime.recording.records import DecisionRecord, FrameRecord, unpack_tracks
from realtime.report.drawing import PALETTE, escape, svg
from realtime.report.session_data import Bout, SessionData
from realtime.report.values import identity_names, quantity, recorded_plane, recorded_rule
from realtime.tracks import Tracks

_PICTURE_PX = 480
_MIN_CROP_PX = 120.0
_GRAB_TIMEOUT_S = 5.0
_PATIENCE_S = 20.0
_FIRST_GUESS_S = 5e-4  # to decode one frame of 512×512 px
_JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images of a session.

    Attributes:
        by_frame_id: The images that could be had.
        note: Where they come from, or why there are none, for a person.
    """

    by_frame_id: Mapping[int, NDArray[np.uint8]]
    note: str


@dataclass(frozen=True, slots=True)
class Shot:
    """The frame in the middle of a bout."""

    rule: str
    bout: Bout
    frame_id: int
    tracks: Tracks
    decision: DecisionRecord


def choose_shots(data: SessionData, n_bouts: int) -> list[Shot]:
    """Return the middle frames of the `n_bouts` longest bouts of each rule, each rule's in order of time."""
    wanted: dict[int, list[tuple[str, Bout]]] = {}
    for rule in data.rules:
        longest = sorted(data.bouts(rule, State.ON), key=lambda bout: -bout.duration_s)[:n_bouts]
        for bout in longest:
            wanted.setdefault(_middle(data, bout), []).append((rule, bout))
    if not wanted:
        return []
    shots = []
    for row, record in _records(data.folder, set(wanted)).items():
        for rule, bout in wanted[row]:
            decision = next(decision for decision in record.decisions if decision.rule == rule)
            shots.append(Shot(rule, bout, record.frame_id, unpack_tracks(record.tracks), decision))
    return shots


def session_pictures(data: SessionData, frame_ids: Sequence[int]) -> Pictures:
    """Return the images of some frames: from the recorded video, else from the camera's own source, else none.

    A video is decoded from its start, so that late frames of a long session take long; those that would take more than
    20 s are left out, as are those that the recorder lost, and the note says so.
    """
    sources: list[tuple[Literal["video", "source"], str]] = []
    if (data.folder / VIDEO_FILE).exists():
        sources.append(("video", "Pictures from the recorded video."))
    if data.description.get("camera", {}).get("reproducible"):
        sources.append(("source", "Pictures from the camera's own source, produced again."))
    failures = []
    wanted = sorted(set(frame_ids))
    for images, note in sources:
        try:
            there = wanted if images == "source" else _in_video(data.folder, wanted)
            found = _grab_all(data, there, images)
        except CameraError as error:
            failures.append(str(error))
            continue
        n_lost, n_late = len(wanted) - len(there), len(there) - len(found)
        lost = f" {n_lost} not in it, which the recorder lost: skeletons only." if n_lost else ""
        late = f" The last {n_late} would take too long to find: skeletons only." if n_late else ""
        return Pictures(found, note + lost + late)
    reason = "; ".join(failures) or "the session recorded none"
    return Pictures({}, f"Skeletons only, there are no pictures: {reason}.")


def _in_video(folder: Path, frame_ids: Sequence[int]) -> list[int]:
    log = read_frame_log(folder / FRAMES_FILE)
    rows = np.flatnonzero(np.isin(log.frame_ids, frame_ids)).tolist()
    return [log[row].frame_id for row in rows if log[row].video_index is not None]


def _grab_all(
    data: SessionData, frame_ids: Sequence[int], images: Literal["video", "source"]
) -> dict[int, NDArray[np.uint8]]:
    first_frame_id = int(data.frame_ids[0])
    taken = tuple(TakenFrame(frame_id, 0, 0, None) for frame_id in frame_ids)  # their times are known, and not wanted
    found: dict[int, NDArray[np.uint8]] = {}
    started_s = time.monotonic()
    s_per_frame = _FIRST_GUESS_S
    with SessionCamera(SessionOptions(path=data.folder, taken=taken, images=images)) as camera:
        for frame_id in frame_ids:
            n_frames = frame_id - first_frame_id + 1
            if n_frames * s_per_frame > _PATIENCE_S:
                break
            frame = camera.grab(_GRAB_TIMEOUT_S)
            if frame is None:
                break
            found[frame.frame_id] = frame.image.copy()
            s_per_frame = (time.monotonic() - started_s) / n_frames
    return found


def figure(shot: Shot, pictures: Pictures, description: Mapping[str, Any]) -> str:
    """Return one bout as an HTML figure."""
    image = pictures.by_frame_id.get(shot.frame_id)
    drawing = picture(shot.tracks, image, description, f"Rule {shot.rule}, frame {shot.frame_id}")
    return f"<figure>{drawing}<figcaption>{_caption(shot, description)}</figcaption></figure>"


def picture(tracks: Tracks, image: NDArray[np.uint8] | None, description: Mapping[str, Any], label: str) -> str:
    """Return the animals of one frame, with skeleton and track id, as SVG.

    Args:
        tracks: The animals.
        image: The frame, or None where it cannot be had.
        description: `session.json`.
        label: For who cannot see it.
    """
    box = _crop(tracks, description.get("camera", {}))
    scale = _PICTURE_PX / (box[2] - box[0])
    parts = [f'<rect width="{_PICTURE_PX}" height="{_PICTURE_PX}" fill="#e9ecf0"/>']
    if image is not None:
        parts.append(_embedded(image, box))
    for row in range(len(tracks.track_ids)):
        parts += _skeleton(tracks, row, box, scale, description)
    parts += _scale_bar(scale, _px_per_mm(description, box))
    return svg(_PICTURE_PX, _PICTURE_PX, parts, label)


def track_color(track_id: int) -> str:
    """Return the colour that a track has in every picture."""
    return PALETTE[(track_id - 1) % len(PALETTE)]


def _middle(data: SessionData, bout: Bout) -> int:
    middle_s = (bout.start_s + bout.end_s) / 2
    return min(bout.first + int(np.searchsorted(data.seconds[bout.first : bout.stop], middle_s)), bout.stop - 1)


def _records(folder: Path, rows: set[int]) -> dict[int, FrameRecord]:
    found: dict[int, FrameRecord] = {}
    row = 0
    try:
        for record in read_log(folder / EVENTS):
            if isinstance(record, FrameRecord):
                if row in rows:
                    found[row] = record
                row += 1
    except LogReadError:
        pass  # `load_session` has read as far and reports it
    return found


def _crop(tracks: Tracks, camera: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Return the square, px (left, top, right, bottom), around the animals that are seen, inside the image."""
    width, height = float(camera.get("width", 0)) or 1024.0, float(camera.get("height", 0)) or 1024.0
    seen = tracks.xy.reshape(-1, 2)
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not seen.size:
        side = min(width, height)
        return 0.0, 0.0, side, side
    low, high = seen.min(axis=0), seen.max(axis=0)
    side = float(np.clip(1.5 * (high - low).max(), _MIN_CROP_PX, min(width, height)))
    centre = (low + high) / 2
    left = float(np.clip(centre[0] - side / 2, 0.0, width - side))
    top = float(np.clip(centre[1] - side / 2, 0.0, height - side))
    return left, top, left + side, top + side


def _embedded(image: NDArray[np.uint8], box: tuple[float, float, float, float]) -> str:
    # Whole pixels are cut out and placed where they belong, so that the skeletons lie where they were found.
    left, top = int(box[0]), int(box[1])
    right, bottom = min(int(np.ceil(box[2])), image.shape[1]), min(int(np.ceil(box[3])), image.shape[0])
    cut = image[top:bottom, left:right]
    if cut.ndim == 3:
        cut = np.ascontiguousarray(cut[:, :, ::-1])  # OpenCV writes BGR
    shrink = _PICTURE_PX / max(cut.shape[:2])
    if shrink < 1.0:
        cut = np.asarray(cv2.resize(cut, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    encoded = base64.b64encode(cv2.imencode(".jpg", cut, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes())
    scale = _PICTURE_PX / (box[2] - box[0])
    # The centre of a pixel is a whole number, so its left edge lies half a pixel before.
    return (
        f'<image x="{(left - 0.5 - box[0]) * scale:.2f}" y="{(top - 0.5 - box[1]) * scale:.2f}" '
        f'width="{(right - left) * scale:.2f}" height="{(bottom - top) * scale:.2f}" preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{encoded.decode()}"/>'
    )


def _skeleton(
    tracks: Tracks, row: int, box: tuple[float, float, float, float], scale: float, description: Mapping[str, Any]
) -> list[str]:
    points = (tracks.xy[row].astype(np.float64) - np.array(box[:2])) * scale
    seen = np.isfinite(points).all(axis=1)
    if not seen.any():
        return []
    model = description.get("model", {})
    skeleton = model.get("skeleton", {})
    color = track_color(int(tracks.track_ids[row]))
    bones = "".join(
        f"M{points[a, 0]:.1f} {points[a, 1]:.1f}L{points[b, 0]:.1f} {points[b, 1]:.1f}"
        for a, b in skeleton.get("edges", ())
        if seen[a] and seen[b]
    )
    bones += _heading(points, seen, skeleton.get("nodes", ()), description.get("rig", {}).get("animal", {}))
    # A light edge under the line, since animals are dark on light in one rig and light on dark in the next.
    parts = [f'<path d="{bones}" class="edge"/><path d="{bones}" class="bone" stroke="{color}"/>']
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="node" fill="{color}"/>' for x, y in points[seen]]
    class_id = int(tracks.class_ids[row])
    names = identity_names(description)
    name = f" {names[class_id]}" if 0 <= class_id < len(names) else ""
    x, y = _label_place(points[seen], (np.nanmean(tracks.xy, axis=(0, 1)) - box[:2]) * scale)
    parts.append(
        f'<text x="{x:.1f}" y="{y:.1f}" class="track" text-anchor="middle" fill="{color}">'
        f"{tracks.track_ids[row]}{escape(name)}</text>"
    )
    return parts


def _label_place(points: NDArray[np.float64], middle: NDArray[np.float64]) -> tuple[float, float]:
    """Return a place beside an animal, px, on its side away from the middle of all of them."""
    centre = points.mean(axis=0)
    away = centre - middle
    length = float(np.hypot(*away))
    away = away / length if length > 1.0 else np.array([0.0, -1.0])
    room = 22.0 + 26.0 * abs(away[0])  # the label is wider than it is high
    x, y = centre + away * (float(np.max((points - centre) @ away)) + room)
    return float(np.clip(x, 46, _PICTURE_PX - 46)), float(np.clip(y + 8, 24, _PICTURE_PX - 44))


def _heading(
    points: NDArray[np.float64], seen: NDArray[np.bool_], nodes: Sequence[str], animal: Mapping[str, str]
) -> str:
    """Return the path of an arrow from the front on, along back → front."""
    if animal.get("front") not in nodes or animal.get("back") not in nodes:
        return ""
    front, back = nodes.index(animal["front"]), nodes.index(animal["back"])
    along = points[front] - points[back]
    length = float(np.hypot(*along))
    if not (seen[front] and seen[back]) or length == 0.0:
        return ""
    unit = along / length
    side = np.array([-unit[1], unit[0]])
    tip = points[front] + max(0.45 * length, 28.0) * unit
    left, right = tip - 11 * unit + 7 * side, tip - 11 * unit - 7 * side
    return (
        "M"
        + "L".join(f"{x:.1f} {y:.1f}" for x, y in (points[front], tip, left))
        + "M"
        + "L".join(f"{x:.1f} {y:.1f}" for x, y in (tip, right))
    )


def _px_per_mm(description: Mapping[str, Any], box: tuple[float, float, float, float]) -> float | None:
    """Return the px of the picture to a mm, from left to right in the middle of a box; None where that is not known."""
    px_per_mm: float | None = description.get("rig", {}).get("calibration", {}).get("px_per_mm")
    plane = recorded_plane(description)
    if px_per_mm is None or plane is None:
        return px_per_mm
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left, right = plane.levelled(np.array([[x - 1.0, y], [x + 1.0, y]]))
    levelled_px = float(np.hypot(*(right - left)))
    return 2.0 * px_per_mm / levelled_px if levelled_px > 0.0 else None


def _scale_bar(scale: float, px_per_mm: float | None) -> list[str]:
    if not px_per_mm:
        return []
    fitting = [mm for mm in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if mm * px_per_mm * scale <= _PICTURE_PX / 3]
    if not fitting:
        return []
    right, y = _PICTURE_PX - 16, _PICTURE_PX - 18
    left = right - fitting[0] * px_per_mm * scale
    return [
        f'<path d="M{left:.1f} {y}H{right}" stroke="#1b1f24" stroke-width="7"/>',
        f'<path d="M{left + 1.5:.1f} {y}H{right - 1.5}" stroke="#ffffff" stroke-width="4"/>',
        f'<text x="{(left + right) / 2:.1f}" y="{y - 9}" class="scale" text-anchor="middle">{fitting[0]:g} mm</text>',
    ]


def _caption(shot: Shot, description: Mapping[str, Any]) -> str:
    bout, decision = shot.bout, shot.decision
    rule = recorded_rule(description, shot.rule)
    values: dict[str, str] = {}
    for column, (value, unit) in enumerate(zip(decision.values, decision.units, strict=True)):
        name = f"number {column + 1}" if rule is None else quantity(rule.comparisons[column])
        values.setdefault(name, "not known" if np.isnan(value) else f"{value:.2f} {unit}".strip())
    roles = ("animal",) * len(decision.track_ids) if rule is None else rule.roles
    who = "".join(f", {role} = {track_id}" for role, track_id in zip(roles, decision.track_ids, strict=False))
    rows = "".join(f"<div><code>{escape(name)}</code> <b>{escape(value)}</b></div>" for name, value in values.items())
    return (
        f"<div><strong>{bout.start_s:.2f} to {bout.end_s:.2f} s</strong> ({bout.duration_s:.2f} s), "
        f"frame {shot.frame_id}{escape(who)}</div>{rows}"
    )
