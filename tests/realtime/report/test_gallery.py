"""The pictures of a session: which frames, from where, and skeletons where they belong."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from realtime.decision import State
from realtime.report import write_report
from realtime.report.gallery import Pictures, choose_shots, figure, session_pictures
from realtime.report.session_data import SessionData, load_session

MakeSmall = Callable[..., Any]
MakeFilm = Callable[..., None]
TakePictures = Callable[[SessionData, Sequence[int]], Pictures]


def test_each_rule_has_its_longest_bouts_as_pictures(recorded: Path, page: str) -> None:
    assert page.count("<figure>") == page.count("data:image/jpeg") == 4
    data = load_session(recorded)
    longest = sorted(data.bouts("courting", State.ON), key=lambda bout: -bout.duration_s)[:2]
    for bout in longest:
        assert f"<strong>{bout.start_s:.2f} to {bout.end_s:.2f} s</strong>" in page
    shots = choose_shots(data, 2)
    assert len(shots) == 4
    for shot in shots:
        assert shot.bout.first <= shot.frame_id < shot.bout.stop
        middle_s = (shot.bout.start_s + shot.bout.end_s) / 2
        assert abs(data.seconds[shot.frame_id] - middle_s) <= 1 / 60


def test_skeletons_lie_on_their_pixels(recorded: Path) -> None:
    data = load_session(recorded)
    shot = choose_shots(data, 1)[0]
    marked = np.zeros((512, 512), np.uint8)
    pixels = np.rint(shot.tracks.xy[np.isfinite(shot.tracks.xy[..., 0])]).astype(int)
    marked[pixels[:, 1], pixels[:, 0]] = 255
    drawing = figure(shot, Pictures({shot.frame_id: marked}, ""), data.description)
    circles = np.array(re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', drawing), float)
    placed = re.search(r'<image x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)".*?base64,([^"]+)"', drawing)
    assert placed is not None
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(placed[5]), np.uint8), cv2.IMREAD_GRAYSCALE)
    x, y, width, height = (float(placed[group]) for group in range(1, 5))
    bright = np.argwhere(picture > 100)[:, ::-1] + 0.5
    seen = bright * (width / picture.shape[1], height / picture.shape[0]) + (x, y)
    a_pixel = width / picture.shape[1]
    for circle in circles:
        assert np.hypot(*(seen - circle).T).min() < 0.75 * a_pixel  # the marks were set on whole pixels


@pytest.mark.parametrize("stretch", [1.0, 1.25])
def test_the_scale_bar_is_that_of_its_place(recorded: Path, stretch: float) -> None:
    """A plane that is stretched by 1.25 has 1.25 levelled px to a px, so that a mm is shorter on the picture."""
    data = load_session(recorded)
    shot = choose_shots(data, 1)[0]

    def length_of_a_mm(description: Mapping[str, Any]) -> float:
        drawing = figure(shot, Pictures({}, ""), description)
        bar = re.search(r'<path d="M([\d.]+) \d+H([\d.]+)" stroke="#1b1f24"', drawing)
        label = re.search(r'class="scale" text-anchor="middle">([\d.]+) mm<', drawing)
        assert bar is not None
        assert label is not None
        return (float(bar[2]) - float(bar[1])) / float(label[1])

    plane = {"width_px": 512, "height_px": 512, "levelling": [[stretch, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}
    rig = data.description["rig"]
    levelled = {**data.description, "rig": {**rig, "calibration": {**rig["calibration"], "plane": plane}}}
    assert length_of_a_mm(levelled) == pytest.approx(length_of_a_mm(data.description) / stretch, rel=0.01)


def test_without_pictures_the_skeletons_stand_alone(recorded: Path, no_pictures: TakePictures) -> None:
    page = write_report(recorded, pictures=no_pictures, n_bouts=1).read_text(encoding="utf-8")
    assert page.count("<figure>") == 2
    assert "<image" not in page
    assert "No pictures here." in page


def test_a_session_that_recorded_no_pictures_says_so(recorded: Path) -> None:
    page = write_report(recorded, n_bouts=1).read_text(encoding="utf-8")
    assert "Skeletons only, there are no pictures: the session recorded none." in page


@pytest.mark.parametrize(("video", "note"), [(True, "the recorded video"), (False, "the camera's own source")])
def test_pictures_come_from_the_video_or_are_produced_again(
    video: bool, note: str, small: MakeSmall, film: MakeFilm
) -> None:
    session = small("011101110")
    film(session, 9, video=video)
    data = load_session(session.end())
    found = session_pictures(data, [6, 2])
    assert note in found.note
    assert sorted(found.by_frame_id) == [2, 6]
    for frame_id, image in found.by_frame_id.items():
        np.testing.assert_array_equal(image, session.scene.image(frame_id))


@pytest.mark.parametrize(("video", "found_ids"), [(True, [2]), (False, [2, 6])])
def test_a_frame_that_the_recorder_lost_costs_no_other_its_picture(
    video: bool, found_ids: list[int], small: MakeSmall, film: MakeFilm
) -> None:
    """The loop had it; the camera overwrote it before a recorder without a processor came to it."""
    session = small("011101110")
    film(session, 9, video=video, lost=(6,))
    found = session_pictures(load_session(session.end()), [6, 2])
    assert sorted(found.by_frame_id) == found_ids
    for frame_id, image in found.by_frame_id.items():
        np.testing.assert_array_equal(image, session.scene.image(frame_id))
    assert ("1 not in it, which the recorder lost" in found.note) == video


def test_pictures_that_cannot_be_had_are_explained(small: MakeSmall) -> None:
    session = small("0110")
    (session.folder / "frames.mkv").write_bytes(b"not a video")
    found = session_pictures(load_session(session.end()), [1])
    assert found.by_frame_id == {}
    assert found.note.startswith("Skeletons only, there are no pictures: ")
    assert str(session.folder) in found.note


def test_pictures_that_would_take_too_long_are_left_out(
    monkeypatch: pytest.MonkeyPatch, small: MakeSmall, film: MakeFilm
) -> None:
    session = small("011101110")
    film(session, 9, video=True)
    monkeypatch.setattr("realtime.report.gallery._PATIENCE_S", 0.0)
    found = session_pictures(load_session(session.end()), [2, 6])
    assert found.by_frame_id == {}
    assert "The last 2 would take too long to find" in found.note
