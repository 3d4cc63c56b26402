"""The page: whole, safe, and true to the session."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from typing import Any, ClassVar

import msgspec
import pytest

from realtime.decision import State
from realtime.recording.records import (
    IntentRecord,
    TriggerEventRecord,
)
from realtime.report import summary, summary_text, write_report
from realtime.report.gallery import Pictures
from realtime.report.session_data import SessionData

MakeSmall = Callable[..., Any]
MakeIntent = Callable[..., IntentRecord]
TakePictures = Callable[[SessionData, Sequence[int]], Pictures]


class Checker(HTMLParser):
    """Notes what a page refers to and whether its tags are closed in order."""

    VOID: ClassVar[set[str]] = {"meta", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]
        assert not [name for name, _ in attrs if name.startswith("on")], "no event handlers"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)
    return checker


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    checker = check(page)
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in checker.references)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(checker.tags)
    assert not re.search(r"https?:|url\((?!#)|@import", page)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()


def test_the_page_tells_what_happened(page: str) -> None:
    for expected in (
        "<h1>20260305-094112-courtship</h1>",
        "Rig <b>courtship.toml</b>",
        "started <b>2026-03-05 09:41:12 UTC</b>",
        "ended: <b>camera ended</b>",
        "<b>1,200</b><span>frames processed</span>",
        "exposure, readout and transfer before that",
        "the actuator",
        "deadline 20 ms",
        "when &lt; 3.5 mm",
        "until &gt; 4.5 mm",
        "distance(a.head, b.thorax)",
        "exceeds 0.05 s",
        "put the lid on &lt;twice&gt;",
        "Drawn by the simulation.",
        "1 male",
        "2 female",
        "a = 1, b = 2",
    ):
        assert expected in page


def test_a_fault_stands_at_the_top_and_in_the_timeline(
    small: MakeSmall, intent: MakeIntent, no_pictures: TakePictures
) -> None:
    session = small("0110")
    fault = TriggerEventRecord("laser", "fault", None, session.start_ns, None, "no answer <for> 100 ms")
    session.row(4, State.ON, trigger_events=(fault,), intents=(intent("disarmed", 4),))
    page = write_report(session.end(), pictures=no_pictures).read_text(encoding="utf-8")
    check(page)
    assert '<p class="warning">laser: no answer &lt;for&gt; 100 ms</p>' in page
    assert ">laser fault: no answer &lt;for&gt; 100 ms</text>" in page


def test_a_device_that_came_back_is_listed_after_its_fault(small: MakeSmall, no_pictures: TakePictures) -> None:
    session = small("0110")
    fault = TriggerEventRecord("laser", "fault", None, session.start_ns, None, "port gone")
    back = TriggerEventRecord("laser", "reopened", None, session.start_ns, None, "the same device <answers> again")
    session.row(4, State.OFF, trigger_events=(fault,))
    session.row(5, State.OFF, trigger_events=(back,))
    page = write_report(session.end(), pictures=no_pictures).read_text(encoding="utf-8")
    check(page)
    listed = page[page.index("<h2>Devices that failed</h2>") :]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", listed)[1:3]]
    assert rows == [
        ["failed", "0.04", "4", "laser: port gone"],
        ["there again", "0.05", "5", "laser: the same device &lt;answers&gt; again"],
    ]


def test_a_stimulus_without_a_rule_is_drawn_and_a_sham_is_no_failure(
    small: MakeSmall, intent: MakeIntent, no_pictures: TakePictures
) -> None:
    session = small("01")
    outcomes = ("sham", "outranked", "cancelled")
    intents = [msgspec.structs.replace(intent(outcome, 2), stimulus="clock", rule="") for outcome in outcomes]
    session.row(2, State.OFF, intents=tuple(intents))
    page = write_report(session.end(), pictures=no_pictures).read_text(encoding="utf-8")
    check(page)
    for outcome in outcomes:
        assert f"<title>clock {outcome} at 0.020 s, frame 2: why</title>" in page
    reasons = page[page.index("Why stimuli were not sent") :]
    assert "outranked" in reasons
    assert "sham" not in reasons


@pytest.mark.parametrize(
    ("states", "stage_ms"),
    [
        pytest.param("", (1, 1, 1, 1, 1), id="no frame"),
        pytest.param("1", (1, 1, 1, 1, 1), id="one frame"),
        pytest.param("000", (1, 1, 1, 1, 1), id="never on"),
        pytest.param("???", (1, 1, 1, 1, 1), id="never known"),
        pytest.param("111", (0, 0, 0, 0, 0), id="no time at all"),
    ],
)
def test_the_least_session_has_a_page(
    states: str, stage_ms: tuple[int, ...], small: MakeSmall, no_pictures: TakePictures
) -> None:
    page = write_report(small(states, stage_ms=stage_ms).end(), pictures=no_pictures)
    check(page.read_text(encoding="utf-8"))
    assert summary_text(summary(page.parent))


def test_a_log_that_was_cut_short_gives_what_is_there(small: MakeSmall, no_pictures: TakePictures) -> None:
    session = small("0110")
    session.log.close()
    with (session.folder / "events.log").open("ab") as log:
        log.write(b"\x20\x00\x00\x00torn")
    numbers = summary(session.folder)
    assert (numbers["n_frames"], numbers["complete"], numbers["ended"]) == (4, False, "cut short: the log has no end")
    check(write_report(session.folder, pictures=no_pictures).read_text(encoding="utf-8"))


def test_a_damaged_log_gives_what_stands_before_the_damage(small: MakeSmall, no_pictures: TakePictures) -> None:
    session = small("0110")
    log = session.end() / "events.log"
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    log.write_bytes(damaged)
    numbers = summary(session.folder)
    assert 0 < numbers["n_frames"] < 4
    assert "is damaged" in numbers["log_damage"]
    assert 'class="warning"' in write_report(session.folder, pictures=no_pictures).read_text(encoding="utf-8")


def test_names_from_the_rig_cannot_break_the_page(
    small: MakeSmall, intent: MakeIntent, no_pictures: TakePictures
) -> None:
    session = small("0110")
    evil = '"><script>alert(1)</script>'
    session.row(4, State.ON, intents=(msgspec.structs.replace(intent("late", 4), stimulus=evil, detail=evil),))
    session.write_description(poseloop_version=evil, started_wall=evil, machine={evil: evil}, rig_path=evil)
    (session.folder / "rig.toml").write_text(evil, encoding="utf-8")
    page = write_report(session.end(), pictures=no_pictures).read_text(encoding="utf-8")
    assert "script" not in check(page).tags


def test_a_session_of_another_version_still_has_its_numbers(small: MakeSmall, no_pictures: TakePictures) -> None:
    session = small("0110")
    session.write_description(rig={"rules": {"contact": {"when": "an older language"}}})
    page = write_report(session.end(), pictures=no_pictures).read_text(encoding="utf-8")
    check(page)
    assert "contact, number 1, mm" in page
