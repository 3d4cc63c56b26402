import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from realtime.cli.commands import app
from realtime.live import Request, run_live
from realtime.loop import StopRequest

EVERY_FRAME = """
[loop]
frames = "every"
[recording]
video = "none"
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, rig_text: Callable[..., str]) -> Path:
    folder = tmp_path_factory.mktemp("enrol")
    (folder / "rig.toml").write_text(rig_text(EVERY_FRAME, camera='n_frames = 20\npace = "consumer"'))
    end = run_live(Request(rig=str(folder / "rig.toml"), out=str(folder / "session")), StopRequest())
    assert end.end.error is None
    return folder / "session"


def enrol(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["enrol", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_standard_output_is_the_section_alone(session: Path) -> None:
    code, out, err = enrol(session, "--name", "1=male", "--name", "2=female")
    assert code == 0
    found = tomllib.loads(out)["identities"]
    assert [mark["name"] for mark in found["marks"]] == ["male", "female"]
    assert "enrol.html" in err
    assert (session / "enrol.html").exists()


def test_without_names_it_says_how_to_give_them(session: Path) -> None:
    code, out, _ = enrol(session)
    assert code == 0
    assert "--name 1=NAME --name 2=NAME" in " ".join(out.split())


def test_json(session: Path) -> None:
    code, out, err = enrol(session, "--json", "--name", "1=male")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert [animal["track"] for animal in answer["animals"]] == [1, 2]
    assert answer["marks"][0]["name"] == "male"
    assert tomllib.loads(answer["section"])["identities"]["by"] == "marks"


def test_into_a_rig(session: Path, tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text((session.parent / "rig.toml").read_text())
    code, out, _ = enrol(session, "--name", "1=male", "--into", rig)
    assert code == 0
    assert "male" in out
    assert tomllib.loads(rig.read_text())["identities"]["marks"][0]["name"] == "male"


WRONG = {
    "no number": (["--name", "male"], "--name: expected TRACK=NAME, as in 1=male, got 'male'"),
    "no track": (["--name", "x=male"], "--name: expected TRACK=NAME, as in 1=male, got 'x=male'"),
    "a track twice": (["--name", "1=a", "--name", "1=b"], "--name: expected every track once, got 1 twice"),
    "an unknown track": (["--name", "9=a"], "expected a track that frame"),
    "an empty name": (["--name", "1="], "track 1: expected a name, got ''"),
    "a late time": (["--at", "1e6"], "choose another time with --at"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_be_typed_wrongly(case: str, session: Path) -> None:
    arguments, message = WRONG[case]
    code, out, err = enrol(session, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_rig_that_is_not_there(session: Path, tmp_path: Path) -> None:
    code, _, err = enrol(session, "--name", "1=a", "--into", tmp_path / "none.toml")
    assert code == 2
    assert "cannot read the rig file" in err


def test_what_is_no_session(tmp_path: Path) -> None:
    code, _, err = enrol(tmp_path)
    assert code == 2
    assert "not a session folder" in err
