"""The numbers of a session, from logs written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realtime.decision import State
from realtime.folder import FolderError
from realtime.recording.records import (
    IntentRecord,
    NoteRecord,
    ReceiptRecord,
    TriggerEventRecord,
)
from realtime.report import summary, summary_text
from realtime.report.session_data import load_session

MakeSmall = Callable[..., Any]
MakeIntent = Callable[..., IntentRecord]

MS = 1_000_000


def test_latencies_are_those_of_the_log(small: MakeSmall) -> None:
    session = small("")
    for index in range(100):
        session.row(index, State.OFF, stage_ms=(0.5, index + 1, 0.1, 0.2, 0.3))
    numbers = summary(session.end())
    latency = numbers["latency_ms"]
    assert latency["predict"] == {
        "p50": 50.5,
        "p95": 95.05,
        "p99": 99.01,
        "p99.9": pytest.approx(99.901),
        "max": 100.0,
        "n": 100,
    }
    assert latency["grab"]["max"] == 0.5
    assert latency["decision"]["max"] == pytest.approx(100.8)
    assert latency["total"]["max"] == pytest.approx(101.1)
    assert latency["command"] == {"p50": None, "p95": None, "p99": None, "p99.9": None, "max": None, "n": 0}
    assert numbers["deadline_ms"] == 20.0
    assert numbers["deadline_misses"] == 81, "decisions of 20.8 ms and more"
    assert (numbers["n_frames"], numbers["seconds"]) == (100, pytest.approx(0.99))
    assert numbers["frames_per_s"] == pytest.approx(100.0)


def test_commands_and_answers_are_matched_by_trigger_and_id(small: MakeSmall) -> None:
    session = small("")
    available_ns = [session.start_ns + row * 10 * MS for row in range(3)]
    receipts = (
        ReceiptRecord("laser", 1, available_ns[0] + 4 * MS, None, delivered=True),
        ReceiptRecord("led", 2, available_ns[0] + 6 * MS, available_ns[0] + 7 * MS, delivered=True),
        ReceiptRecord("led", 3, available_ns[0] + 9 * MS, None, delivered=False),
    )
    events = (
        TriggerEventRecord("laser", "ack", 1, available_ns[1] + 1 * MS, None, ""),
        TriggerEventRecord("led", "ack", 1, available_ns[1], None, "another trigger's id"),
        TriggerEventRecord("led", "refused", 2, available_ns[1], None, ""),
        TriggerEventRecord("led", "fault", None, available_ns[1], None, "port gone"),
        TriggerEventRecord("led", "reopened", None, available_ns[2], None, "the same device answers again"),
    )
    session.row(0, State.OFF, receipts=receipts)
    session.row(1, State.OFF, trigger_events=events)
    numbers = summary(session.end())
    assert numbers["latency_ms"]["command"]["n"] == 2, "what was not delivered was not written"
    assert numbers["latency_ms"]["command"]["max"] == 6.0
    assert {name: row["max"] for name, row in numbers["acknowledgement_ms"].items()} == {"led": 1.0, "laser": 7.0}
    assert numbers["refused_commands"] == {"led: ": 1}
    assert numbers["trigger_faults"] == ["led: port gone"]
    assert numbers["triggers_reopened"] == ["led: the same device answers again"]
    assert summary_text(numbers).splitlines()[-2:] == [
        "trigger fault: led: port gone",
        "trigger there again: led: the same device answers again",
    ]


def test_bouts_last_until_the_first_frame_after_them(small: MakeSmall) -> None:
    session = small("0111??0110001")
    data = load_session(session.end())
    assert [(bout.first, bout.stop, round(bout.duration_s, 3)) for bout in data.bouts("contact", State.ON)] == [
        (1, 4, 0.03),
        (7, 9, 0.02),
        (12, 13, 0.0),
    ]
    assert summary(session.folder)["rules"]["contact"] == {
        "bouts": 3,
        "on_s": pytest.approx(0.05),
        "longest_s": pytest.approx(0.03),
        "unknown_s": pytest.approx(0.02),
    }


def test_the_text_for_the_terminal(small: MakeSmall, intent: MakeIntent) -> None:
    session = small("0110")
    session.row(5, State.OFF, intents=(intent("sent", 4, ("laser", 1)), intent("late", 4)))
    session.append(NoteRecord(session.start_ns, "lid", "closed"))
    assert summary_text(summary(session.end({"skipped": 2}))).splitlines() == [
        "5 frames in 0.1 s (80.0 a second); ended: camera ended",
        "",
        "latency, ms      p50      p95      p99    p99.9      max        n",
        "grab            1.00     1.00     1.00     1.00     1.00        5",
        "predict         2.00     2.00     2.00     2.00     2.00        5",
        "update          3.00     3.00     3.00     3.00     3.00        5",
        "evaluate        4.00     4.00     4.00     4.00     4.00        5",
        "fire            5.00     5.00     5.00     5.00     5.00        5",
        "decision        10.0     10.0     10.0     10.0     10.0        5",
        "command            –        –        –        –        –        0",
        "total           15.0     15.0     15.0     15.0     15.0        5",
        "frames past the deadline of 20 ms: 0",
        "frames not processed: 2 skipped; frame ids missing: 1",
        "rule contact: bouts 1, longest 0.02 s; on 0.0 s, unknown 0.0 s",
        "stimulus light: never asked for",
        "stimulus tone: 1 sent, 1 late",
        "note: lid: closed",
    ]


def test_the_summary_is_json(recorded: Path) -> None:
    numbers = json.loads(json.dumps(summary(recorded), allow_nan=False))
    assert numbers["complete"] is True
    assert set(numbers["stimuli"]["tone"]) == {"sent", "late", "limited"}
    assert numbers["rules"]["courting"]["unknown_s"] > 0.5
    assert numbers["drops"] == {"skipped": 12}


def test_a_folder_that_is_no_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a session folder"):
        summary(tmp_path)
