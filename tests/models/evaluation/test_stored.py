import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.errors import LabelsError
from models.evaluation.stored import read_stored_metrics

METRICS = {
    "dist.avg": np.float64(1.5),
    "dist.dists": np.arange(6.0).reshape(2, 3),
    "dist.columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "pck.pcks": np.array([True, False]),
    "vis.tp": 4,
    "big": np.arange(3, dtype=">i4"),
    "share": 0.25,
}


def stored(path, table):
    np.savez(path, metrics=table)
    return path


def repacked(path, content, member="metrics.npy"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def pickled(path, thing, protocol=3):
    """A file whose pickle is exactly this, as `numpy.savez` would wrap it."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    return repacked(path, head.getvalue() + (thing if isinstance(thing, bytes) else pickle.dumps(thing, protocol)))


def test_what_numpy_writes(tmp_path):
    found = read_stored_metrics(stored(tmp_path / "metrics.npz", METRICS))
    assert found.keys() == METRICS.keys()
    for name, expected in METRICS.items():
        np.testing.assert_array_equal(found[name], expected)
        assert np.asarray(found[name]).dtype.kind == np.asarray(expected).dtype.kind


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, protocol):
    if protocol == 2:  # bytes are then a function call, which SLEAP's files do not have
        with pytest.raises(LabelsError, match="asks to call '_codecs encode'"):
            read_stored_metrics(pickled(tmp_path / "metrics.npz", {"a": b"1"}, protocol))
        return
    found = read_stored_metrics(pickled(tmp_path / "metrics.npz", {"a": 1, "b": 0.5}, protocol))
    assert found == {"a": 1, "b": 0.5}


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"dist.avg": bad}], ids=["alone", "among metrics"])
def test_code_in_a_file_does_not_run(tmp_path, wrap):
    made = tmp_path / "made"
    path = pickled(tmp_path / "metrics.npz", wrap(Malicious(made)))
    with pytest.raises(LabelsError) as error:
        read_stored_metrics(path)
    assert str(error.value) == (
        f"{path}: not SLEAP's stored metrics: it asks to call 'posix mkdir', which no number needs"
    )
    assert not made.exists()
    np.load(path, allow_pickle=True)["metrics"]
    assert made.exists()  # the file is as dangerous as it should be


def test_code_named_by_the_state_of_an_object_does_not_run(tmp_path):
    """A pickle can also set attributes of what it names; here a name has none."""
    path = pickled(tmp_path / "metrics.npz", b"\x80\x03cos\nsystem\n}(X\x01\x00\x00\x00aX\x01\x00\x00\x00bub.")
    with pytest.raises(LabelsError, match="expected an array, got _Name"):
        read_stored_metrics(path)


REFUSED = {
    "an instruction for persistent objects": (b"\x80\x03X\x01\x00\x00\x00aQ.", "the instruction BINPERSID is none"),
    "an instruction to make an object": (b"\x80\x03cos\nsystem\n)\x81.", "the instruction NEWOBJ is none"),
    "a list": ([1], "expected a dictionary of metrics, got something else"),
    "names that are no text": ({1: 2}, "expected a dictionary of metrics, got something else"),
    "no end": (b"\x80\x03}", "pickle exhausted before seeing STOP"),
    "too few operands": (b"\x80\x03R.", "an instruction has too few operands"),
}


@pytest.mark.parametrize(("content", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path, content, expected):
    with pytest.raises(LabelsError, match=expected):
        read_stored_metrics(pickled(tmp_path / "metrics.npz", content))


def test_arrays_of_objects_are_refused(tmp_path):
    with pytest.raises(LabelsError, match="expected numbers in every array, got objects"):
        read_stored_metrics(stored(tmp_path / "metrics.npz", {"a": np.array([None, 1])}))


def test_files_that_are_no_metrics(tmp_path):
    with pytest.raises(LabelsError) as error:
        read_stored_metrics(tmp_path / "none.npz")
    assert str(error.value) == f"{tmp_path / 'none.npz'}: no such file"
    text = tmp_path / "text.npz"
    text.write_text("mAP 1.0")
    for path in (text, stored(tmp_path / "numbers.npz", np.zeros(3)), repacked(tmp_path / "other.npz", b"", "a.npy")):
        with pytest.raises(LabelsError, match="not SLEAP's stored metrics"):
            read_stored_metrics(path)


def test_damaged_files_are_refused_or_read(tmp_path):
    whole = stored(tmp_path / "whole.npz", METRICS).read_bytes()
    chance = np.random.default_rng(0)
    for k in range(300):
        content = bytearray(whole[: chance.integers(len(whole))] if k % 3 == 0 else whole)
        for at in chance.integers(len(content), size=5) if content else ():
            content[at] = chance.integers(256)
        damaged = tmp_path / "damaged.npz"
        damaged.write_bytes(content)
        try:
            read_stored_metrics(damaged)
        except LabelsError as error:
            assert str(error).startswith(f"{damaged}: ")  # noqa: PT017 - damage that hits no number is not noticed


def test_damaged_instructions_are_refused_or_followed(tmp_path):
    """The archive's checksum notices most damage; here the pickle itself is damaged before it is packed."""
    with zipfile.ZipFile(stored(tmp_path / "whole.npz", METRICS)) as archive:
        whole = archive.read("metrics.npy")
    chance = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for at in chance.integers(len(content), size=3):
            content[at] = chance.integers(256)
        try:
            read_stored_metrics(repacked(tmp_path / "damaged.npz", bytes(content)))
        except LabelsError:
            refused += 1
    assert refused > 100
