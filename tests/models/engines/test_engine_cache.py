"""Compiled engines on disk: built once, whole or not at all, never loaded damaged."""

import os
import stat

import pytest

from models.engines.engine_cache import cache_folder, cache_name, cached


@pytest.fixture
def path(tmp_path):
    return tmp_path / "engine.plan"


class Builds:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return b"engine %d" % self.count


def test_an_engine_is_built_once(path):
    build = Builds()
    assert [cached(path, build) for _ in range(3)] == [b"engine 1"] * 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored[:-1],
        lambda stored: stored[:20],
        lambda stored: b"",
        lambda stored: stored[:-1] + b"!",
        lambda stored: b"!" + stored[1:],
    ],
    ids=["cut off", "cut off in the checksum", "empty", "a changed byte", "a changed checksum"],
)
def test_a_damaged_engine_is_built_again(path, damage):
    build = Builds()
    cached(path, build)
    path.write_bytes(damage(path.read_bytes()))
    assert cached(path, build) == b"engine 2"
    assert cached(path, build) == b"engine 2"


def test_a_build_that_fails_leaves_nothing(path):
    with pytest.raises(ZeroDivisionError):
        cached(path, lambda: 1 // 0)
    assert list(path.parent.iterdir()) == []


def test_a_disk_that_fails_leaves_nothing(path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        cached(path, Builds())
    assert list(path.parent.iterdir()) == []


def test_names_differ_by_graph_and_by_every_condition():
    names = {
        cache_name(b"graph", "tensorrt", "11.4", 1),
        cache_name(b"graph", "tensorrt", "11.4", 2),
        cache_name(b"graph", "tensorrt", "11.5", 1),
        cache_name(b"graph", "tensorrt11.4", "", 1),
        cache_name(b"other", "tensorrt", "11.4", 1),
    }
    assert len(names) == 5
    assert cache_name(b"graph", "tensorrt", "11.4", 1) in names


@pytest.mark.parametrize("given", [None, "", "relative"])
def test_the_folder_is_in_the_users_cache_and_only_the_users(tmp_path, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    folder = cache_folder()
    assert folder == tmp_path / ".cache" / "poseloop" / "engines"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_cache_directory_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == cache_folder() == tmp_path / "poseloop" / "engines"
