"""The session folder: made once, described at once."""

import json

import pytest

from realtime import folder as session_folder


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    session_folder.create_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_with_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "data.csv").write_text("mine")
    with pytest.raises(session_folder.FolderError) as caught:
        session_folder.create_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected a new or empty folder, got one with files in it; choose another --out"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_a_folder_below_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(session_folder.FolderError, match="cannot make the session folder: Not a directory"):
        session_folder.create_folder(tmp_path / "file" / "session")


def test_only_an_empty_folder_is_removed(tmp_path):
    session_folder.create_folder(tmp_path / "empty")
    session_folder.create_folder(tmp_path / "full")
    (tmp_path / "full" / "events.log").write_text("")
    for name in ("empty", "full", "missing"):
        session_folder.remove_if_empty(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_description_comes_back_as_written(tmp_path):
    description = {"format_version": session_folder.FORMAT_VERSION, "ended": None}
    session_folder.write_description(tmp_path, description)
    assert session_folder.read_description(tmp_path) == description
    assert [path.name for path in tmp_path.iterdir()] == ["session.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a session folder: cannot read session.json: No such file or directory"),
        ("{", "not valid JSON"),
        ("[]", "expected format_version 1, got list"),
        (json.dumps({"format_version": 99}), "expected format_version 1, got 99"),
    ],
    ids=["missing", "half a file", "not an object", "another version"],
)
def test_what_is_no_session_is_an_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "session.json").write_text(content)
    with pytest.raises(session_folder.FolderError, match=message):
        session_folder.read_description(tmp_path)
