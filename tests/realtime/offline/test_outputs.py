import numpy as np
import pytest

from models.skeleton import Skeleton
from realtime.offline import outputs
from realtime.offline.errors import OfflineInputError, OfflineNotInstalledError
from realtime.offline.outputs import check_outputs, write_outputs
from realtime.offline.tracked import TrackedFrame, TrackedVideo


@pytest.fixture
def video(tmp_path):
    frame = TrackedFrame(0, np.array([0], np.int32), np.ones((1, 1, 2)), np.ones((1, 1)), np.ones(1), np.ones(1))
    return TrackedVideo(tmp_path / "v.mp4", (1, 9, 9, 1), 25.0, Skeleton(("dot",)), ("one",), 1, lambda: iter([frame]))


def test_all_outputs_appear_and_nothing_else(tmp_path, video):
    paths = [tmp_path / "o.slp", tmp_path / "o.analysis.h5", tmp_path / "o.csv"]
    write_outputs(paths, video)
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_failure_leaves_the_old_files_and_no_drafts(tmp_path, video, monkeypatch):
    (tmp_path / "o.csv").write_text("old")

    def fail(path, video):
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(outputs, "write_csv", fail)
    with pytest.raises(OSError, match="no space left"):
        write_outputs([tmp_path / "o.slp", tmp_path / "o.csv"], video)
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
    assert (tmp_path / "o.csv").read_text() == "old"


def test_the_analysis_names_the_labels_beside_it(tmp_path, video):
    h5py = pytest.importorskip("h5py")
    write_outputs([tmp_path / "o.h5", tmp_path / "o.slp"], video)
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["labels_path"].asstr()[()] == str((tmp_path / "o.slp").resolve())


def test_what_is_wrong_with_an_output_is_said_before_the_work(tmp_path):
    (tmp_path / "there.slp").touch()
    wrong = {
        "o.txt": "expected a name that ends with .slp, .h5, .csv, got o.txt",
        "none/o.slp": f"expected an output in a folder that is there, got {tmp_path / 'none'}",
        "there.slp": "is there already; choose another name, or replace it with --overwrite",
    }
    for name, message in wrong.items():
        with pytest.raises(OfflineInputError) as caught:
            check_outputs([tmp_path / name], overwrite=False)
        assert str(caught.value) == f"{tmp_path / name}: {message}"
    check_outputs([tmp_path / "there.slp"], overwrite=True)


def test_the_same_output_twice(tmp_path):
    with pytest.raises(OfflineInputError, match="expected every output once"):
        check_outputs([tmp_path / "o.csv", tmp_path / "." / "o.csv"], overwrite=False)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.importlib.util, "find_spec", lambda name: None if name == "sleap_io" else name)
    with pytest.raises(OfflineNotInstalledError) as caught:
        check_outputs([tmp_path / "o.slp"], overwrite=False)
    assert str(caught.value) == (
        f"{tmp_path / 'o.slp'}: expected the package sleap_io, got none; install it with: pip install 'poseloop[sleap]'"
    )
    check_outputs([tmp_path / "o.csv", tmp_path / "o.h5"], overwrite=False)
