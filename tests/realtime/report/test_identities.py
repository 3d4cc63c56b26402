from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from realtime.decision import State
from realtime.recording.records import TracksRecord, pack_tracks
from realtime.report import summary, summary_text, write_report
from realtime.report.identities import IdentityEvent, IdentityTrace, in_words
from realtime.report.session_data import load_session
from realtime.testing import plain_tracks


def tracks(ids: list[int], suspects: list[int], corrected: list[int] | None = None) -> TracksRecord:
    return pack_tracks(plain_tracks(ids, suspect_ids=suspects, corrected_ids=corrected))


FRAMES: dict[str, tuple[list[TracksRecord], list[IdentityEvent]]] = {
    "nothing": ([tracks([1, 2], [0, 0])] * 3, []),
    "two tracks for a while": (
        [tracks([1, 2], [0, 0]), tracks([1, 2], [2, 1]), tracks([1, 2], [2, 1]), tracks([1, 2], [0, 1])],
        [
            IdentityEvent(1, "suspected", 1, 2),
            IdentityEvent(1, "suspected", 2, 1),
            IdentityEvent(3, "trusted", 1, 0),
        ],
    ),
    "a correction that ends the suspicion": (
        [tracks([1, 2], [2, 1]), tracks([1, 2], [0, 0], [2, 1])],
        [
            IdentityEvent(0, "suspected", 1, 2),
            IdentityEvent(0, "suspected", 2, 1),
            IdentityEvent(1, "corrected", 1, 2),
            IdentityEvent(1, "corrected", 2, 1),
            IdentityEvent(1, "trusted", 1, 0),
            IdentityEvent(1, "trusted", 2, 0),
        ],
    ),
    "two corrections in a row": (
        [tracks([1, 2], [0, 0], [2, 1])] * 2,
        [IdentityEvent(row, "corrected", *pair) for row in (0, 1) for pair in ((1, 2), (2, 1))],
    ),
    "a suspected track that ends is not trusted": (
        [tracks([1, 2], [1, 0]), tracks([2], [0]), tracks([2, 3], [0, 0])],
        [IdentityEvent(0, "suspected", 1, 1)],
    ),
    "a log from before it was recorded": (
        [msgspec.structs.replace(tracks([1], [1]), suspect_ids=None, corrected_ids=None)],
        [],
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_events(name: str) -> None:
    frames, expected = FRAMES[name]
    trace = IdentityTrace()
    for row, record in enumerate(frames):
        trace.add(row, record)
    assert trace.events == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (IdentityEvent(0, "suspected", 1, 2), "track 1 may be the animal of track 2"),
        (IdentityEvent(0, "suspected", 1, 1), "track 1 may be any other animal"),
        (IdentityEvent(0, "trusted", 1, 0), "track 1 is trusted again"),
        (IdentityEvent(0, "corrected", 1, 2), "track 1 got back its animal from track 2"),
    ],
)
def test_words(event: IdentityEvent, expected: str) -> None:
    assert in_words(event) == expected


def test_a_session_tells_its_doubts(small: Callable[..., Any], no_pictures: Any) -> None:
    session = small("00")
    doubtful = msgspec.structs.replace(session_tracks(session), suspect_ids=np.array([2, 1], np.int32).tobytes())
    session.row(2, State.OFF, tracks=doubtful)
    folder = session.end()
    assert list(load_session(folder).identity_events) == [
        IdentityEvent(2, "suspected", 1, 2),
        IdentityEvent(2, "suspected", 2, 1),
    ]
    assert summary(folder)["identity"] == {"suspected": 2, "corrected": 0}
    assert "identity: tracks suspected of being another animal 2 times, corrected 0 times" in summary_text(
        summary(folder)
    )
    page = write_report(folder, pictures=no_pictures).read_text(encoding="utf-8")
    assert "Identities in doubt" in page
    assert "track 1 may be the animal of track 2" in page


def test_a_session_without_doubts_does_not_speak_of_them(small: Callable[..., Any], no_pictures: Any) -> None:
    folder = small("00").end()
    assert "identity:" not in summary_text(summary(folder))
    assert "Identities in doubt" not in write_report(folder, pictures=no_pictures).read_text(encoding="utf-8")


def session_tracks(session: Any) -> TracksRecord:
    return pack_tracks(session._tracks(0, session.start_ns))
