import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.poses import Poses
from realtime.offline.errors import OfflineInputError, OtherJobError, WorkFileError
from realtime.offline.work_file import FoundBatch, FoundFrame, WorkFile
from realtime.recording.records import pack_poses, unpack_poses

JOB = {"video": "a.mp4 (10 bytes)", "model": "model.onnx 12", "frames": "0-"}


def batch(first, n=2, **counts):
    rng = np.random.default_rng(first)
    return FoundBatch(
        tuple(
            FoundFrame(
                index,
                1000 * index,
                pack_poses(
                    Poses(
                        rng.random((2, 3, 2), np.float32),
                        rng.random((2, 3), np.float32),
                        rng.random(2, np.float32),
                    )
                ),
            )
            for index in range(first, first + n)
        ),
        **counts,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.slp.part"


def filled(path, n_batches=3, job=JOB):
    work = WorkFile(path, job)
    for k in range(n_batches):
        work.append(batch(2 * k))
    work.close()


def reopened(path, job=JOB, **kind):
    work = WorkFile(path, job, **kind)
    batches = list(work.batches())
    work.close()
    return work.next_index, batches


def test_what_was_appended_is_there_again(path):
    filled(path)
    next_index, batches = reopened(path)
    assert next_index == 6
    assert batches == [batch(0), batch(2), batch(4)]
    assert unpack_poses(batches[0].frames[0].poses).xy.shape == (2, 3, 2)


def test_a_new_file_holds_nothing(path):
    assert reopened(path) == (None, [])
    assert reopened(path) == (None, [])


def test_counts_of_a_batch_are_kept(path):
    work = WorkFile(path, JOB)
    work.append(batch(0, n_overflows=2, n_faults=5))
    work.close()
    (there,) = reopened(path)[1]
    assert (there.n_overflows, there.n_faults) == (2, 5)


@given(cut=st.integers(0, 2000))
def test_wherever_a_kill_cuts_the_file_whole_batches_before_it_are_kept(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "out.part"
    filled(path)
    size = path.stat().st_size
    os.truncate(path, max(size - cut, 0))
    work = WorkFile(path, JOB)
    kept = list(work.batches())
    assert kept == [batch(0), batch(2), batch(4)][: len(kept)]
    assert work.next_index == (2 * len(kept) or None)
    work.append(batch(2 * len(kept)))
    work.close()
    assert len(reopened(path)[1]) == len(kept) + 1


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 100, struct.pack("<II", 4, 0) + b"abcd"])
def test_a_torn_or_damaged_tail_is_cut_off(path, tail):
    filled(path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(tail)
    assert reopened(path) == (6, [batch(0), batch(2), batch(4)])
    assert path.stat().st_size == size


def test_work_of_another_job_is_refused_and_what_differs_is_said(path):
    filled(path)
    with pytest.raises(OtherJobError) as caught:
        WorkFile(path, {**JOB, "model": "model.onnx 99", "frames": "0-9"})
    assert str(caught.value) == (
        f"{path}: the unfinished work there belongs to another job:\n"
        "  model: there model.onnx 12, here model.onnx 99\n"
        "  frames: there 0-, here 0-9\n"
        "repeat that job's command to go on with it, or add --overwrite to throw it away and start anew"
    )
    assert reopened(path)[0] == 6


def test_work_of_another_job_is_thrown_away_if_asked(path):
    filled(path)
    assert reopened(path, {**JOB, "model": "model.onnx 99"}, restart=True) == (None, [])
    with pytest.raises(OtherJobError):
        WorkFile(path, JOB)


def test_work_of_the_same_job_is_kept_even_if_a_restart_is_allowed(path):
    filled(path)
    assert reopened(path, restart=True)[0] == 6


def test_a_file_of_another_version_is_refused(path):
    filled(path)
    content = bytearray(path.read_bytes())
    content[8] = 77
    path.write_bytes(content)
    with pytest.raises(OtherJobError, match="written by another version of poseloop"):
        WorkFile(path, JOB)
    assert reopened(path, restart=True) == (None, [])


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_of_somebody_else_is_never_touched(path, restart):
    path.write_bytes(b"my only copy of something")
    with pytest.raises(OfflineInputError, match="expected the work file of an unfinished `poseloop track`"):
        WorkFile(path, JOB, restart=restart)
    assert path.read_bytes() == b"my only copy of something"


def test_only_one_process_at_a_time(path):
    work = WorkFile(path, JOB)
    with pytest.raises(WorkFileError, match="another process is writing this work file"):
        WorkFile(path, JOB)
    work.close()
    WorkFile(path, JOB).close()


def test_a_full_disk_leaves_the_batches_before(path, monkeypatch):
    work = WorkFile(path, JOB)
    work.append(batch(0))
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real_write(file, data[:20]))
    with pytest.raises(
        WorkFileError, match=r"cannot write: only 20 of \d+ bytes fitted; what was found before is kept"
    ):
        work.append(batch(2))
    monkeypatch.undo()
    work.append(batch(2))
    work.close()
    assert reopened(path) == (4, [batch(0), batch(2)])


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(WorkFileError, match="cannot open the work file: No such file or directory"):
        WorkFile(tmp_path / "none" / "out.part", JOB)


def test_removed_when_done(path):
    work = WorkFile(path, JOB)
    work.remove()
    assert not path.exists()
