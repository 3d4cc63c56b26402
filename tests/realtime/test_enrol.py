"""Enrolment by hand: from a recorded session to a rig in which rules speak of the animals by name."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from realtime.enrol import ChosenFrame, EnrolError, append_to_rig, choose_frame, make_marks, section, write_page
from realtime.folder import FolderError
from realtime.live import Request, run_live
from realtime.loop import ProcessedFrame, StopRequest
from realtime.replay import replay_session
from realtime.rig import RigError, load_rig
from realtime.tracks import Tracks

NEAR = """
[loop]
frames = "every"
deadline_ms = 200.0
[rules.near]
any_pair = ["a", "b"]
when = "distance(a.head, b.thorax) < 100 px"
when_unknown = "release"
[triggers.laser]
driver = "simulated"
ack_timeout_ms = 5000
[stimuli.light]
rule = "near"
triggers = ["laser"]
channel = 0
duration_ms = 50
[safety]
armed_at_start = true
[recording]
video = "none"
"""
NAMED = """
[roles]
male = { identity = "male" }
female = { identity = "female" }
[rules.apart]
when = "distance(male, female) > 0 px"
when_unknown = "release"
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, rig_text: Callable[..., str]) -> Path:
    """A recorded session of the simulator; its rig lies beside it."""
    folder = tmp_path_factory.mktemp("enrol")
    rig = folder / "rig.toml"
    rig.write_text(rig_text(NEAR, camera='n_frames = 90\npace = "consumer"'))
    end = run_live(Request(rig=str(rig), out=str(folder / "session")), StopRequest())
    assert end.end.error is None
    return folder / "session"


def rig_beside(session: Path, name: str, more: str) -> Path:
    rig = session.parent / name
    rig.write_text((session.parent / "rig.toml").read_text() + more)
    return rig


class Seen:
    """A sink that remembers the tracks of every frame."""

    def __init__(self) -> None:
        self.tracks: list[Tracks] = []

    def append(self, processed: ProcessedFrame) -> None:
        self.tracks.append(processed.tracks)


def test_from_a_session_to_rules_that_know_the_male(session: Path) -> None:
    frame = choose_frame(session)
    assert len(frame.animals) == 2
    marks = make_marks(frame, {1: "female", 2: "male"})
    rig = rig_beside(session, "named.toml", NAMED)
    append_to_rig(rig, section(marks, session, frame))
    seen = Seen()
    comparison, _ = replay_session(session, rig=load_rig(rig), sinks=(seen,))
    assert load_rig(rig).identities.identities == ("female", "male")  # type: ignore[union-attr]
    assert seen.tracks[-1].track_ids.tolist() == [1, 2]
    assert seen.tracks[-1].class_ids.tolist() == [0, 1]
    assert comparison.onsets["apart"][1], "the rule on the names was on"


def test_a_session_with_names_is_replayed_identically_and_tells_them(session: Path) -> None:
    rig = rig_beside(session, "by_place.toml", NAMED + '[identities]\nby = "x"\nnames = ["male", "female"]\n')
    out = session.parent / "named_session"
    assert run_live(Request(rig=str(rig), out=str(out)), StopRequest()).end.error is None
    assert json.loads((out / "session.json").read_text())["identities"] == ["male", "female"]
    comparison, _ = replay_session(out)
    assert comparison.first_difference == ""


def test_a_role_needs_a_name_that_is_enrolled(session: Path) -> None:
    rig = rig_beside(session, "other.toml", NAMED + '[identities]\nby = "x"\nnames = ["a", "female"]\n')
    with pytest.raises(RigError) as caught:
        run_live(Request(rig=str(rig), out=str(session.parent / "never")), StopRequest())
    assert "$.roles.male.identity: expected an identity of the model (a, female), got 'male'" in str(caught.value)


def test_more_names_than_tracks(session: Path) -> None:
    rig = rig_beside(session, "many.toml", '[identities]\nby = "x"\nnames = ["a", "b", "c"]\n')
    with pytest.raises(RigError) as caught:
        run_live(Request(rig=str(rig), out=str(session.parent / "never")), StopRequest())
    assert caught.value.mistakes == [
        f"{rig}: $.identities: expected at most 2 names ($.tracker.max_tracks), got 3 (a, b, c)"
    ]


def test_a_chosen_time_gives_the_first_frame_from_then_on(session: Path) -> None:
    frame = choose_frame(session, 0.5)
    assert 0.5 <= frame.at_s < 0.52
    assert choose_frame(session, frame.at_s - 0.001).frame_id == frame.frame_id
    assert choose_frame(session, frame.at_s + 0.001).frame_id == frame.frame_id + 1


def test_a_time_after_the_end(session: Path) -> None:
    with pytest.raises(EnrolError) as caught:
        choose_frame(session, 1e6)
    assert str(caught.value) == (
        f"{session}: expected a frame with an animal 1e+06 s after its first frame or later, found none; "
        "choose another time with --at"
    )


def test_what_is_no_session(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a session folder"):
        choose_frame(tmp_path)


def frame_of(*places: tuple[float, float] | None) -> ChosenFrame:
    n = len(places)
    xy = np.array([[(np.nan, np.nan) if p is None else p] * 2 for p in places], np.float32)
    ids = np.arange(1, n + 1, dtype=np.int32)
    none = np.zeros(n, np.int32)
    tracks = Tracks(
        ids, xy, np.ones((n, 2), np.float32), np.ones(n, np.float32), none.astype(np.int64), none, none, none
    )
    return ChosenFrame(7, 0.25, tracks)


def test_animals_that_are_not_seen_are_not_offered() -> None:
    assert [animal.track_id for animal in frame_of((1, 2), None, (3, 4)).animals] == [1, 3]


def test_only_some_animals_may_be_named() -> None:
    marks = make_marks(frame_of((1, 2), (3, 4)), {2: "male"})
    assert [(mark.name, mark.at_s, mark.x_px, mark.y_px) for mark in marks] == [("male", 0.25, 3.0, 4.0)]


WRONG_NAMES = {
    "a track that is not there": ({4: "a"}, "expected a track that frame 7 shows (1, 3), got 4"),
    "a track that is not seen": ({2: "a"}, "expected a track that frame 7 shows (1, 3), got 2"),
    "an empty name": ({1: " "}, "track 1: expected a name, got ' '"),
    "a name over two lines": ({1: "a\nb"}, "track 1: expected a name, got 'a\\nb'"),
    "a name twice": ({1: "a", 3: "a"}, "expected every name once, got 'a' for several tracks"),
}


@pytest.mark.parametrize("case", WRONG_NAMES)
def test_names_that_cannot_be(case: str) -> None:
    names, message = WRONG_NAMES[case]
    with pytest.raises(EnrolError) as caught:
        make_marks(frame_of((1, 2), None, (3, 4)), names)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["male", 'the "big" one', "größer", "a\\b", "1", "[x]", "#"])
def test_any_name_survives_the_file(name: str) -> None:
    frame = frame_of((1.5, 2.25))
    text = section(make_marks(frame, {1: name}), Path("s"), frame)
    found = tomllib.loads(text)["identities"]
    assert found == {"by": "marks", "marks": [{"name": name, "at_s": 0.25, "x_px": 1.5, "y_px": 2.25}]}


def test_a_rig_that_has_names_is_left_as_it_is(tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text('[identities]\nby = "x"\nnames = ["a"]\n')
    with pytest.raises(EnrolError) as caught:
        append_to_rig(rig, "more")
    assert str(caught.value) == (
        f"{rig}: expected a rig without [identities], got one with it; remove that section first"
    )
    assert rig.read_text() == '[identities]\nby = "x"\nnames = ["a"]\n'
    assert list(tmp_path.iterdir()) == [rig]


def test_a_rig_that_is_no_toml_is_left_as_it_is(tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text("[camera\n")
    with pytest.raises(EnrolError, match="not valid TOML"):
        append_to_rig(rig, "more")
    assert rig.read_text() == "[camera\n"


def test_the_page_shows_every_animal(session: Path) -> None:
    page = write_page(session, choose_frame(session)).read_text(encoding="utf-8")
    assert page.count('class="bone"') == 2
    assert "<image " in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
