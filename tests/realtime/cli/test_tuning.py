import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import models.tuning
from models.tuning import Candidate
from realtime.cli.commands import app

WAYS = [Candidate("exported", {"threads": 1}), Candidate("exported", {"engine": "tensorrt", "device": "cuda"})]


@pytest.fixture(autouse=True)
def two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.tuning, "candidates", lambda spec: WAYS)


def tuned(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tune-engine", *arguments, "--frames", "10"])


def test_it_prints_what_to_paste_into_the_rig() -> None:
    result = tuned("zoo:sim_pair")
    assert result.exit_code == 0, result.output
    assert "exported: onnxruntime on cpu, fp32, 1 thread" in " ".join(result.output.split())
    assert "not run: engine tensorrt" in result.output
    section = tomllib.loads(result.output[result.output.index("[model]") :])
    assert section == {"model": {"kind": "exported", "path": "zoo:sim_pair", "threads": 1}}


def test_json() -> None:
    found = json.loads(tuned("zoo:sim_pair", "--json").stdout)
    assert found["best"] == {"kind": "exported", "path": "zoo:sim_pair", "threads": 1}
    assert [one["candidate"]["settings"] for one in found["tried"]] == [way.settings for way in WAYS]
    assert found["tried"][0]["p50_ms"] > 0
    assert found["tried"][1]["p50_ms"] is None


def test_without_one_that_works_the_exit_code_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.tuning, "candidates", lambda spec: WAYS[1:])
    assert tuned("zoo:sim_pair").exit_code == 1


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    result = tuned(str(tmp_path))
    assert result.exit_code == 2
    assert "model.json" in result.output
