"""The drill: what it does and leaves out, and that a session is none the worse for it."""

from contextlib import ExitStack

import numpy as np
import pytest

from camera_drivers.base import CameraInfo
from realtime.assemble import load_model, make_drill
from realtime.drill import DecisionDrill
from realtime.live import _open_seeing
from realtime.rig import load_rig
from realtime.tracking import GreedyTracker, TrackerOptions

INFO = CameraInfo(512, 512, 1, 60.0, None, True)
AWAKE = '[loop]\nwait = "spin"\n'
RULES = """
[rules.near]
any_pair = ["a", "b"]
when = "distance(a, b) < 100 px"
when_unknown = "release"
[rules.both]
when = "state(near)"
when_unknown = "release"
"""
LOOKAHEAD = '[lookahead]\ngroups = { body = ["head", "thorax", "abdomen"] }\n'


@pytest.fixture
def open_rig(tmp_path, rig_text):
    def make(*sections):
        path = tmp_path / "rig.toml"
        path.write_text(rig_text("\n".join(sections), camera="n_frames = 40"))
        return load_rig(path)

    return make


def drill_of(rig):
    model = load_model(rig)
    drill = make_drill(rig, model, INFO)
    model.close()
    return drill


class Rule:
    def __init__(self):
        self.seen = []

    def evaluate(self, tracks, frame_id, timestamp_ns):
        self.seen.append((frame_id, timestamp_ns, tracks.track_ids.tolist(), np.isfinite(tracks.xy).all()))


def test_it_tracks_the_same_animals_and_asks_every_rule():
    rules = [Rule(), Rule()]
    tracker = GreedyTracker(TrackerOptions(), 5)
    drill = DecisionDrill(tracker, rules, None, None, 2, 5)
    for _ in range(3):
        drill.once()
    wanted = [(k, k * 10_000_000, [1, 2], True) for k in (1, 2, 3)]
    assert [rule.seen for rule in rules] == [wanted, wanted]


@pytest.mark.parametrize(
    "sections",
    [
        (AWAKE,),
        (AWAKE, RULES),
        (AWAKE, RULES, LOOKAHEAD),
        (AWAKE, "[tracker]\nmax_tracks = 1\n"),
        (AWAKE, '[tracker]\nmotion = "kalman"\nmatching = "hungarian"\nmax_tracks = 8\nclosed_population = false\n'),
        (AWAKE, '[identities]\nby = "size"\nnames = ["male", "female"]\n'),
    ],
    ids=["tracker", "rules", "look-ahead", "one animal", "other stages", "identities"],
)
def test_it_runs_with_the_parts_of_a_rig(open_rig, sections):
    drill = drill_of(open_rig(*sections))
    for _ in range(50):
        drill.once()


@pytest.mark.parametrize(
    "sections", [(RULES,), (AWAKE, '[tracker]\nmotion = "farneback"\n')], ids=["asleep", "images are needed"]
)
def test_where_there_is_none(open_rig, sections):
    assert drill_of(open_rig(*sections)) is None


def test_nobody_elses_code_is_asked_about_animals_that_do_not_exist(open_rig, monkeypatch):
    rig = open_rig(AWAKE, RULES)
    rules = [Rule(), Rule()]
    for rule, plugin in zip(rules, (None, "somebody's"), strict=True):
        rule.plugin = plugin
    monkeypatch.setattr("realtime.assemble.make_rules", lambda *_: tuple(rules))
    drill_of(rig).once()
    assert [rule.seen for rule in rules] == [[], []]


@pytest.mark.parametrize(("sections", "is_drilled"), [((AWAKE,), True), ((), False)], ids=["awake", "asleep"])
def test_the_camera_of_a_session_has_it(open_rig, sections, is_drilled):
    with ExitStack() as opened:
        seeing = _open_seeing(open_rig(*sections), opened, fires=False)
        drill = seeing.camera._drill
        assert (drill is not None and drill.also is not None) == is_drilled
