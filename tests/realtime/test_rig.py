"""Rig files: everything that can be typed wrongly is reported, all at once, with its path."""

import copy
import re
import tomllib
from pathlib import Path

import pytest

from camera_drivers.registry import load as load_camera
from realtime.lookahead import LookAheadOptions
from realtime.rig import RigError, load_rig, parse_rig
from realtime.stimulus import LimitSpec, StimulusSpec

RIGS = Path(__file__).parents[2] / "rigs"

GOOD = tomllib.loads("""
[camera]
driver = "sim"
[model]
kind = "exported"
path = "zoo:sim_pair"
[animal]
front = "head"
back = "abdomen"
centre = "thorax"
[rules.near]
any_pair = ["a", "b"]
when = "distance(a.head, b.head) < 100 px"
when_unknown = "release"
[triggers.laser]
driver = "recording"
[stimuli.light]
rule = "near"
triggers = ["laser"]
channel = 0
duration_ms = 100
[limits.laser.0]
max_on_s = 1.0
""")


def changed(*path, value=None):
    """Return the good rig with one value set, or removed if it is None."""
    rig = copy.deepcopy(GOOD)
    inner = rig
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return rig


def mistakes(data):
    with pytest.raises(RigError) as caught:
        parse_rig(data, Path("rigs/arena.toml"))
    return caught.value.mistakes


@pytest.mark.parametrize("path", sorted(RIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_rig_that_ships_is_valid_without_its_hardware(path):
    rig = load_rig(path)
    assert rig.rules
    assert rig.stimuli


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            changed("camera", "sed", value=3),
            "rigs/arena.toml: $.camera.sed: unknown key; did you mean 'seed'?",
        ),
        (
            changed("camera", "seed", value="seven"),
            "rigs/arena.toml: $.camera.seed: expected a valid integer, got 'seven' (str)",
        ),
        (
            changed("camera", "driver", value="simm"),
            None,
        ),
        (
            changed("camera", "driver"),
            "rigs/arena.toml: $.camera.driver: expected a name, got nothing",
        ),
        (changed("camera"), "rigs/arena.toml: $.camera: expected this key, got nothing"),
        (
            changed("loop", "deadline", value=3),
            "rigs/arena.toml: $.loop.deadline: unknown key; did you mean 'deadline_ms'?",
        ),
        (
            changed("loop", "deadline_ms", value=-1),
            "rigs/arena.toml: $.loop.deadline_ms: expected greater than 0, got -1 (int)",
        ),
        (
            changed("lop", value={}),
            "rigs/arena.toml: $.lop: unknown key; did you mean 'loop'?",
        ),
        (
            changed("rules", "near", "when_unknown"),
            "rigs/arena.toml: $.rules.near.when_unknown: expected this key, got nothing",
        ),
        (
            changed("rules", "near", "refractory", value=1),
            "rigs/arena.toml: $.rules.near.refractory: unknown key; did you mean 'refractory_s'?",
        ),
        (
            changed("stimuli", "light", "rule", value="naer"),
            "rigs/arena.toml: $.stimuli.light.rule: no rule 'naer'; did you mean 'near'?",
        ),
        (
            changed("stimuli", "light", "triggers", value=["lazer"]),
            "rigs/arena.toml: $.stimuli.light.triggers: no trigger 'lazer'; did you mean 'laser'?",
        ),
        (
            changed("stimuli", "light", "rule"),
            "rigs/arena.toml: $.stimuli.light: expected exactly one of rule, schedule_s, random_interval_s and yoked, "
            "which says when the stimulus goes out, got none",
        ),
        (
            changed("stimuli", "light", "probability", value=0.5),
            "rigs/arena.toml: $.stimuli.light: expected a seed, from which probability is drawn, got none; "
            "write seed = 1, say",
        ),
        (
            changed("stimuli", "light", "blocks", value={"size": 4, "real": 2, "sise": 4}),
            "rigs/arena.toml: $.stimuli.light.blocks.sise: unknown key; did you mean 'size'?",
        ),
        (
            changed("stimuli", "light", "sheme", value=True),
            "rigs/arena.toml: $.stimuli.light.sheme: unknown key; did you mean 'sham'?",
        ),
        (
            changed("limits", "laser", "one", value={"max_on_s": 1.0}),
            "rigs/arena.toml: $.limits.laser.one: expected a channel number, got 'one'",
        ),
        (
            changed("identities", value={"by": "colour", "names": ["a", "b"]}),
            "rigs/arena.toml: $.identities.by: expected 'size', 'x', 'y' or 'marks', got 'colour' (str)",
        ),
        (
            changed("identities", value={"by": "size", "name": ["a", "b"]}),
            "rigs/arena.toml: $.identities.name: unknown key; did you mean 'names'?",
        ),
        (
            changed("identities", value={"by": "size", "names": ["a", "a"]}),
            'rigs/arena.toml: $.identities: by = "size": expected the names of all animals, each once, '
            "got ['a', 'a']",
        ),
        (
            changed("identities", value={"by": "marks", "marks": [{"name": "a", "at_s": -1, "x_px": 1, "y_px": 2}]}),
            "rigs/arena.toml: $.identities.marks.0.at_s: expected greater than or equal to 0, got -1 (int)",
        ),
        (
            changed("lookahead", value={"horizon": 20.0}),
            "rigs/arena.toml: $.lookahead.horizon: unknown key; did you mean 'horizon_ms'?",
        ),
        (
            changed("lookahead", value={"horizon_ms": 20.0, "device_latency_ms": 5.0}),
            "rigs/arena.toml: $.lookahead: expected either horizon_ms, which is the whole way from frame to stimulus, "
            "or camera_latency_ms and device_latency_ms, which are added to what is measured, got both; remove one",
        ),
        (
            changed("lookahead", "groups", "front", value=["head", 3]),
            "rigs/arena.toml: $.lookahead.groups.front.1: expected a valid string, got 3 (int)",
        ),
        (
            changed("triggers", "laser", value="serial"),
            "rigs/arena.toml: $.triggers.laser: expected a valid dictionary, got 'serial' (str)",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[16:50],
)
def test_a_mistake_is_named_with_its_path(data, expected):
    found = mistakes(data)
    if expected is None:
        assert len(found) == 1
        assert found[0].startswith("rigs/arena.toml: $.camera.driver: ")
        assert "'sim'" in found[0]
    else:
        assert found == [expected]


def test_a_stimulus_that_its_limits_never_let_through_is_a_mistake():
    found = mistakes(changed("limits", "laser", "0", "max_on_s", value=0.05))
    assert len(found) == 1
    assert found[0].startswith("rigs/arena.toml: $.stimuli.light: can never be sent on laser channel 0")


def test_every_mistake_is_reported_at_once():
    data = changed("camera", "sed", value=3)
    data["loop"] = {"deadline": 1}
    data["stimuli"]["light"]["rule"] = "nobody"
    assert [line.split(": ")[1] for line in mistakes(data)] == ["$.loop.deadline", "$.camera.sed"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[camera", "not valid TOML: "),
        (b"\xff\xfe", "expected UTF-8 text, got byte 0xff"),
        (None, "cannot read the rig file: No such file or directory"),
    ],
    ids=["half a table", "another encoding", "missing"],
)
def test_what_is_no_rig_file_is_an_error(tmp_path, content, message):
    path = tmp_path / "rig.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RigError, match=message):
        load_rig(path)


def test_every_option_of_stimuli_and_limits_that_the_template_shows_is_one():
    known = {"stimuli": StimulusSpec.model_fields, "limits": LimitSpec.model_fields}
    section, shown = "", {"stimuli": set(), "limits": set()}
    for line in (RIGS / "template.toml").read_text().splitlines():
        if heading := re.match(r"(# )?\[(\w+)", line):
            section = heading[2]
        elif section in known and (option := re.match(r"(# )?(\w+ = .*)", line)):
            name, value = tomllib.loads(option[2]).popitem()
            assert name in known[section], line
            assert value is not None
            shown[section].add(name)
    assert shown == {name: set(fields) for name, fields in known.items()}, "the template explains every section"


def test_the_template_shows_options_of_cameras_that_they_have():
    text = (RIGS / "template.toml").read_text()
    first, *others = text[text.index("[camera]") : text.index("[loop]")].split("# driver = ")
    shown = {tomllib.loads(first)["camera"]["driver"]: tomllib.loads(first)["camera"]}
    for other in others:
        options = tomllib.loads("driver = " + re.sub(r"(?m)^# ", "", other))
        shown[options["driver"]] = options
    assert list(shown) == ["sim", "video", "opencv"]
    for name, options in shown.items():
        known = load_camera(name).Options.model_fields
        assert options.keys() - {"driver"} <= set(known), name


def test_a_rig_may_stimulate_without_a_rule():
    data = changed("stimuli", "light", value={"schedule_s": [1], "triggers": ["laser"], "channel": 0, "duration_ms": 5})
    del data["rules"]
    rig = parse_rig(data, Path("rigs/arena.toml"))
    assert rig.stimuli["light"].schedule_s == (1.0,)
    assert rig.settings["stimuli"]["light"]["schedule_s"] == [1.0]


def test_the_settings_of_a_rig_are_a_rig_again():
    rig = parse_rig(GOOD, Path("rigs/arena.toml"))
    again = parse_rig(rig.settings, Path("elsewhere/rig.toml"))
    assert again.settings == rig.settings
    assert (again.camera, again.model, again.rules, again.stimuli) == (rig.camera, rig.model, rig.rules, rig.stimuli)


@pytest.mark.parametrize("given", [{}, {"horizon_ms": 20.0, "groups": {"front": ["head"], "rear": ["abdomen"]}}])
def test_the_look_ahead_of_a_rig_comes_back_from_its_settings(given):
    rig = parse_rig(changed("lookahead", value=given), Path("rigs/arena.toml"))
    assert rig.lookahead == LookAheadOptions.model_validate(given)
    assert parse_rig(rig.settings, Path("elsewhere/rig.toml")).lookahead == rig.lookahead
    assert parse_rig(GOOD, Path("rigs/arena.toml")).lookahead is None


def test_paths_are_taken_from_the_folder_of_the_rig(tmp_path):
    data = changed("camera", value={"driver": "video", "path": "clips/a.mp4"})
    rig = parse_rig(data, tmp_path / "rigs" / "arena.toml")
    assert rig.camera.options.path == tmp_path / "rigs" / "clips" / "a.mp4"
    assert rig.settings["camera"]["path"] == str(tmp_path / "rigs" / "clips" / "a.mp4")
