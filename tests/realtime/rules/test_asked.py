"""Rules in Python: the README's example as written, and plug-ins that break the protocol."""

import importlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.decision import Edge, State
from realtime.rules import Rule, RuleContext, RuleError, RuleSpec, TrackTable, compile_rule
from realtime.rules.asked import _animal
from realtime.rules.explained import explain
from realtime.rules.testing import check_rule
from realtime.rules.why import why
from realtime.tracks import Tracks

README = Path(__file__).parents[3] / "realtime" / "README.md"
ODD = """
import time
from typing import ClassVar
from pydantic import BaseModel, ConfigDict, field_validator
from realtime.rules import PythonRule

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    fault: str = ""
    @field_validator("fault")
    def _looked_up(cls, fault):
        if fault == "looked up":
            raise LookupError("no such table")
        return fault

class Counting(PythonRule):
    Options = Options
    n_animals = 2
    def __init__(self, options, context):
        super().__init__(options, context)
        self.n = 0
        if options.fault == "made":
            raise OSError("no such table")
    def evaluate(self, animals, timestamp_ns):
        self.n += 1
        if self.options.fault == "raises" and self.n == 3:
            raise ZeroDivisionError("a bug")
        if self.options.fault == "answers" and self.n == 3:
            return 0.7
        if self.options.fault == "writes":
            animals[0].xy[0] = 0.0
        if animals[0]["head"][0] != animals[0]["head"][0]:
            return None
        return self.n % 4 < 2
    def reset(self):
        self.n = 0
    def reasons(self):
        return [f"asked {self.n} times"]

class NoRule:
    pass
"""
ENTRIES = """[poseloop.rules]
counting = odd_rules:Counting
none = odd_rules:NoRule
gone = odd_rules:Missing
broken = broken_rules:Any
"""


def install(folder: Path, name: str, modules: dict[str, str], entries: str) -> None:
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two packages with rules: the README's, and one that is odd in many ways."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", README.read_text().split("## A rule in Python")[1], re.DOTALL)
    code, project = blocks[0][1], tomllib.loads(blocks[1][1])
    entries = project["project"]["entry-points"]["poseloop.rules"]
    text = "[poseloop.rules]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
    install(tmp_path, "acme", {"acme_rules": code}, text)
    install(tmp_path, "odd", {"odd_rules": ODD, "broken_rules": "1 / 0"}, ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for module in ("acme_rules", "odd_rules", "broken_rules"):
        sys.modules.pop(module, None)


def readme_spec(**changes: Any) -> RuleSpec:
    blocks = re.findall(r"```(\w+)\n(.*?)```", README.read_text().split("## A rule in Python")[1], re.DOTALL)
    return RuleSpec.model_validate(tomllib.loads(blocks[2][1])["rules"]["chase"] | changes)


def counting(**changes: Any) -> RuleSpec:
    settings = {"python": "counting", "roles": ["first", "second"], "when_unknown": "release"} | changes
    return RuleSpec.model_validate({key: value for key, value in settings.items() if value is not None})


Make = Callable[..., Tracks]


def pair(make_tracks: Make, gap: float, **kinds: Any) -> Tracks:
    first = {"head": (0.0, 0.0), "thorax": (-5.0, 0.0), "abdomen": (-10.0, 0.0)}
    second = {"head": (gap + 20.0, 0.0), "thorax": (gap + 10.0, 0.0), "abdomen": (gap, 0.0)}
    return make_tracks({1: first, 2: second}, **kinds)


def states(rule: Rule, frames: list[Tracks]) -> list[State]:
    return [rule.evaluate(tracks, index, index * 10_000_000).state for index, tracks in enumerate(frames)]


def test_the_readmes_rule_keeps_the_contract(context: RuleContext) -> None:
    rule = compile_rule("chase", readme_spec(), context)
    assert rule.plugin is not None
    check_rule(rule.plugin.installed.kind, rule.plugin.options, context)


def test_the_readmes_rule_runs_with_its_own_hysteresis_and_the_rigs_for_s(
    context: RuleContext, make_tracks: Make
) -> None:
    rule = compile_rule("chase", readme_spec(), context)
    frames = [pair(make_tracks, gap) for gap in [40.0] * 12 + [90.0, 101.0]]
    decisions = [rule.evaluate(tracks, index, index * 10_000_000) for index, tracks in enumerate(frames)]
    assert [decision.state for decision in decisions] == [State.OFF] * 10 + [State.ON] * 3 + [State.OFF]
    assert decisions[10].edge == Edge.RISING
    assert decisions[10].track_ids == (1, 2)
    assert decisions[10].values == ()


def test_each_pair_has_its_own_memory_which_ends_with_a_track(context: RuleContext, make_tracks: Make) -> None:
    rule = compile_rule("r", counting(roles=None, any_pair=["a", "b"]), context)
    points = {"head": (0.0, 0.0)}
    both, one = make_tracks({1: points, 2: points}), make_tracks({1: points})
    assert states(rule, [both, both, one, both]) == [State.ON, State.OFF, State.UNKNOWN, State.ON]


def test_it_is_not_asked_while_one_of_its_animals_has_no_track(context: RuleContext, make_tracks: Make) -> None:
    rule = compile_rule("r", counting(), context)
    first, both = make_tracks({1: {"head": (0.0, 0.0)}}), pair(make_tracks, 1.0)
    assert states(rule, [first, both, both, first, both]) == [
        State.UNKNOWN,
        State.ON,
        State.OFF,
        State.UNKNOWN,
        State.ON,
    ]


def test_a_correction_of_a_swap_resets_it(context: RuleContext, make_tracks: Make) -> None:
    rule = compile_rule("r", counting(), context)
    plain, corrected = pair(make_tracks, 1.0), pair(make_tracks, 1.0, corrected={1: 2, 2: 1})
    assert states(rule, [plain, plain, plain, corrected, plain]) == [
        State.ON,
        State.OFF,
        State.OFF,
        State.ON,
        State.OFF,
    ]


@pytest.mark.parametrize(
    "kinds",
    [{"confidence": {1: 0.89}}, {"suspects": {2: 2}}],
    ids=["confidence", "suspected"],
)
def test_it_is_not_asked_where_it_is_not_sure_who_is_who(
    context: RuleContext, make_tracks: Make, kinds: dict[str, Any]
) -> None:
    rule = compile_rule("r", counting(require_identity=0.9), context)
    doubtful, sure = pair(make_tracks, 1.0, **kinds), pair(make_tracks, 1.0, confidence={1: 0.9})
    assert states(rule, [doubtful, doubtful, sure, sure]) == [State.UNKNOWN, State.UNKNOWN, State.ON, State.OFF]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("raises", "rule r: odd_rules:Counting raised ZeroDivisionError: a bug, on frame 2"),
        (
            "answers",
            "rule r: odd_rules:Counting: expected the answer True, False or None, got 0.7 (float), on frame 2",
        ),
        (
            "writes",
            "rule r: odd_rules:Counting raised ValueError: assignment destination is read-only, on frame 0",
        ),
    ],
)
def test_a_fault_makes_it_unknown_for_good(context: RuleContext, make_tracks: Make, fault: str, text: str) -> None:
    rule = compile_rule("r", counting(options={"fault": fault}, when_unknown="release"), context)
    frames = [pair(make_tracks, 1.0)] * 6
    found = states(rule, frames)
    assert rule.fault == text
    assert found[2:] == [State.UNKNOWN] * 4
    table = rule.evaluate_recording(TrackTable.stack(range(6), [k * 10_000_000 for k in range(6)], frames))
    assert table.states.tolist() == found
    rule.reset()
    assert rule.fault == ""
    assert states(rule, frames) == found


def test_why_it_is_not_on_in_its_own_words(context: RuleContext, make_tracks: Make) -> None:
    frames = [pair(make_tracks, 1.0)] * 3
    recording = TrackTable.stack(range(3), [0, 10_000_000, 20_000_000], frames)
    told = [why("r", counting(for_s=0.05), context, recording, index)[0] for index in range(3)]
    assert told[0].reasons == ("it has been true for 0.000 s, and has to be for 0.05 s (for_s)",)
    assert told[2].reasons == ("asked 3 times",)
    assert told[2].animals == {"first": 1, "second": 2}
    silent = why("chase", readme_spec(), context, TrackTable.stack([0], [0], [pair(make_tracks, 80.0)]), 0)
    assert silent[0].reasons == ("the rule in Python answered false",)


def test_explained(context: RuleContext) -> None:
    told = explain("chase", readme_spec(), context)
    assert told.lines == (
        "  python: chasing  [acme_rules:Chasing of acme 1.5]",
        "    The first animal's head is behind the second one's abdomen; lost at twice the gap.",
        "    gap_px = 50.0",
    )
    assert told.roles == {"a": "either animal of any pair", "b": "either animal of any pair"}
    assert told.timing[1] == "is off as soon as the rule in Python does not answer True"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"python": "countin"},
            "$.rules.r.python: expected a rule in Python (broken, chasing, counting, gone, none), got 'countin'; "
            "did you mean 'counting'?",
        ),
        (
            {"python": "none"},
            "$.rules.r.python: odd_rules:NoRule: expected a subclass of realtime.rules.PythonRule, got",
        ),
        (
            {"python": "gone"},
            "$.rules.r.python: odd_rules:Missing raised AttributeError: module 'odd_rules' has no attribute 'Missing'",
        ),
        ({"python": "broken"}, "$.rules.r.python: broken_rules:Any raised ZeroDivisionError: division by zero"),
        (
            {"roles": ["first", "secnd"]},
            "$.rules.r.roles: expected a role (male, female, first, second), got 'secnd'; did you mean 'second'?",
        ),
        (
            {"roles": ["first"]},
            "$.rules.r.roles: expected 2 animals in any_pair and roles together, as odd_rules:Counting is about, got 1",
        ),
        (
            {"roles": None, "any_pair": ["male", "b"]},
            "$.rules.r.any_pair: expected names that are not roles, got 'male'",
        ),
        ({"options": {"fault": 3}}, "$.rules.r.options.fault: Input should be a valid string, got 3"),
        ({"options": {"faults": "x"}}, "$.rules.r.options.faults: Extra inputs are not permitted, got 'x'"),
        (
            {"options": {"fault": "made"}},
            "$.rules.r.python: rule r: odd_rules:Counting raised OSError: no such table",
        ),
        (
            {"options": {"fault": "looked up"}},
            "$.rules.r.options: odd_rules:Counting.Options raised LookupError: no such table",
        ),
    ],
)
def test_mistakes_in_the_rig(context: RuleContext, spec: dict[str, Any], text: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rule("r", counting(**spec), context)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"n_animals": None}, "n_animals: expected a number of animals, 1 or more, got nothing"),
        ({"n_animals": 0}, "n_animals: expected a number of animals, 1 or more, got 0"),
        ({"n_animals": True}, "n_animals: expected a number of animals, 1 or more, got True"),
        ({"n_animals": "2"}, "n_animals: expected a number of animals, 1 or more, got '2'"),
        ({"Options": None}, "Options: expected a pydantic model, got nothing"),
        ({"Options": dict}, "Options: expected a pydantic model, got <class 'dict'>"),
    ],
)
def test_a_class_without_what_every_rule_has(
    context: RuleContext, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any], text: str
) -> None:
    kind = importlib.import_module("odd_rules").Counting
    for name, value in attributes.items():
        if value is None:
            monkeypatch.delattr(kind, name)
        else:
            monkeypatch.setattr(kind, name, value)
    with pytest.raises(RuleError) as caught:
        compile_rule("r", counting(), context)
    assert str(caught.value) == f"$.rules.r.python: odd_rules:Counting.{text}"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"when": "visible(first)"}, "expected either when or python, got both"),
        ({"python": None}, "expected either when or python, got neither"),
        ({"until": "visible(first)"}, "until: expected when with it, got python"),
        ({"python": None, "when": "visible(first)"}, "roles: expected python with it, got none"),
    ],
)
def test_a_table_is_one_or_the_other(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        counting(**changes)


def test_an_animal_knows_its_nodes(context: RuleContext, make_tracks: Make) -> None:
    animal = _animal(context.node_names, pair(make_tracks, 7.0), 1)
    assert animal["abdomen"].tolist() == [7.0, 0.0]
    assert animal.node_scores.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(KeyError, match=r"expected a node \(head, thorax, abdomen\), got 'tail'"):
        animal["tail"]
    assert animal.xy.dtype == np.float64
