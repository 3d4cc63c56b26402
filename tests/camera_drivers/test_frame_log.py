"""The frame log: what is written comes back, a torn tail is reported, damage before it is an error."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_drivers.errors import CameraNotOpenError
from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLogWriter, LoggedFrame, read_frame_log

IMAGE = np.zeros((1, 1), np.uint8)
RECORD_BYTES = 44
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)


def write(path: Path, n_frames: int) -> bytes:
    writer = FrameLogWriter(path)
    for k in range(n_frames):
        writer.append(Frame(k, 10 * k, 11 * k, None if k % 2 else 12 * k, IMAGE), None if k % 3 else k // 3)
    writer.close()
    writer.close()
    return path.read_bytes()


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "frames.log", 4)
    log = read_frame_log(tmp_path / "frames.log")
    assert log.frame_ids.tolist() == [0, 1, 2, 3]
    assert [log[k] for k in range(len(log))] == [
        LoggedFrame(0, 0, 0, 0, 0),
        LoggedFrame(1, 10, 11, None, None),
        LoggedFrame(2, 20, 22, 24, None),
        LoggedFrame(3, 30, 33, None, 1),
    ]
    assert log.torn_bytes == 0


@given(
    frame_id=INT64, timestamp_ns=INT64, available_ns=INT64, device_ns=st.none() | INT64, index=st.none() | st.just(7)
)
def test_any_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    frame_id: int,
    timestamp_ns: int,
    available_ns: int,
    device_ns: int | None,
    index: int | None,
) -> None:
    path = tmp_path_factory.mktemp("log") / "frames.log"
    writer = FrameLogWriter(path)
    writer.append(Frame(frame_id, timestamp_ns, available_ns, device_ns, IMAGE), index)
    assert read_frame_log(path)[0] == LoggedFrame(frame_id, timestamp_ns, available_ns, device_ns, index)
    writer.close()


@pytest.mark.parametrize("n_bytes", range(RECORD_BYTES))
def test_torn_tail(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "frames.log"
    data = write(path, 3)
    path.write_bytes(data[: len(data) - RECORD_BYTES + n_bytes])
    log = read_frame_log(path)
    assert log.frame_ids.tolist() == [0, 1]
    assert log.torn_bytes == n_bytes


def test_a_tail_of_zeros_is_torn(tmp_path: Path) -> None:
    """What a file system may leave after a loss of power."""
    path = tmp_path / "frames.log"
    path.write_bytes(write(path, 3)[:-RECORD_BYTES] + bytes(RECORD_BYTES + 5))
    log = read_frame_log(path)
    assert log.frame_ids.tolist() == [0, 1]
    assert log.torn_bytes == RECORD_BYTES + 5


@pytest.mark.parametrize("offset", [8, 30, 8 + 40, 8 + RECORD_BYTES])
def test_damage_before_the_end_is_an_error(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "frames.log"
    data = bytearray(write(path, 3))
    data[offset] ^= 4
    path.write_bytes(data)
    with pytest.raises(CameraNotOpenError) as caught:
        read_frame_log(path)
    damaged = (offset - 8) // RECORD_BYTES
    assert str(caught.value) == f"{path}: expected whole records, got a damaged record {damaged} of 3"


def test_what_is_no_frame_log(tmp_path: Path) -> None:
    path = tmp_path / "frames.log"
    with pytest.raises(CameraNotOpenError, match="cannot read the frame log: No such file or directory"):
        read_frame_log(path)
    path.write_bytes(b"something else")
    with pytest.raises(CameraNotOpenError, match=r"expected a frame log, got a file that begins with b'somethin'"):
        read_frame_log(path)


def test_an_existing_log_is_never_overwritten(tmp_path: Path) -> None:
    data = write(tmp_path / "frames.log", 2)
    with pytest.raises(FileExistsError):
        FrameLogWriter(tmp_path / "frames.log")
    assert (tmp_path / "frames.log").read_bytes() == data


WRITER = """
import sys
from pathlib import Path
import numpy as np
from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLogWriter
writer = FrameLogWriter(Path(sys.argv[1]))
for k in range(10**9):
    writer.append(Frame(k, k, k, None, np.zeros((1, 1), np.uint8)))
"""


def test_a_killed_writer_leaves_a_readable_log(tmp_path: Path) -> None:
    path = tmp_path / "frames.log"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as child:
        deadline = time.monotonic() + 20.0
        while not path.exists() or path.stat().st_size < 50_000:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        child.kill()
    log = read_frame_log(path)
    assert len(log) > 1000
    assert log.frame_ids.tolist() == list(range(len(log)))


LIMITED_WRITER = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:{WRITER.replace(chr(10), chr(10) + "    ")}
except OSError as error:
    print(k, error.strerror)
"""


def test_a_full_disk_is_an_error_at_once_and_the_log_stays_readable(tmp_path: Path) -> None:
    """A limit on the file's size makes the last write short, as the last block of a disk does."""
    path = tmp_path / "frames.log"
    command = [sys.executable, "-c", LIMITED_WRITER, str(path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    n_whole, n_torn = divmod(1000 - 8, RECORD_BYTES)
    assert out == f"{n_whole} no space left for the frame log\n"
    log = read_frame_log(path)
    assert (len(log), log.torn_bytes) == (n_whole, n_torn)
