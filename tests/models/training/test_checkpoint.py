"""A checkpoint is there whole or is named as damaged."""

import numpy as np
import pytest

from models.errors import TrainingInputError
from models.training.checkpoint import Checkpoint


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "detector.checkpoint.npz"
    Checkpoint({"weights/0": np.arange(6, dtype=np.float32)}, {"step": 7, "epochs": []}).save(path)
    return path


def test_what_was_saved_comes_back(file):
    found = Checkpoint.load(file)
    assert found.state == {"step": 7, "epochs": []}
    np.testing.assert_array_equal(found.arrays["weights/0"], np.arange(6))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_crash_while_writing_leaves_the_last_one(file, monkeypatch):
    monkeypatch.setattr(np, "savez", lambda f, **_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Checkpoint({}, {"step": 8}).save(file)
    assert Checkpoint.load(file).state["step"] == 7


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_file_is_named(file, content):
    file.write_bytes(content)
    with pytest.raises(TrainingInputError) as caught:
        Checkpoint.load(file)
    assert str(caught.value).startswith(f"{file}: expected the checkpoint of a training, got a damaged file (")
    assert str(caught.value).endswith("); start again with --overwrite")


def test_objects_are_not_unpickled(file):
    with file.open("wb") as stream:
        np.savez(stream, **{"state.json": np.array([{"step": 1}], dtype=object)})
    with pytest.raises(TrainingInputError, match="damaged file"):
        Checkpoint.load(file)
