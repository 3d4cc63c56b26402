from importlib.metadata import EntryPoint

import pytest

import models.registry
from models.base import PoseModel


def test_every_kind_is_a_model():
    assert models.registry.names() == ("exported", "guided", "recorded")
    for name in models.registry.names():
        kind = models.registry.load(name)
        assert issubclass(kind, PoseModel)
        config = kind.Options.model_config
        assert (config["extra"], config["frozen"], config["strict"]) == ("forbid", True, True)


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(LookupError) as error:
        models.registry.load("exportet")
    assert (
        str(error.value)
        == ("\"expected a kind of model (exported, guided, recorded), got 'exportet'; did you mean 'exported'?\"")
        or str(error.value)
        == "expected a kind of model (exported, guided, recorded), got 'exportet'; did you mean 'exported'?"
    )


def test_another_package_adds_its_own_but_cannot_replace_ours(monkeypatch):
    theirs = [
        EntryPoint(name, "models.recorded:RecordedModel", models.registry.GROUP) for name in ("theirs", "exported")
    ]
    monkeypatch.setattr(models.registry, "entry_points", lambda group: theirs if group == "poseloop.models" else [])
    assert models.registry.names() == ("exported", "guided", "recorded", "theirs")
    assert models.registry.load("theirs").__name__ == "RecordedModel"
    assert models.registry.load("exported").__name__ == "ExportedModel"
