"""The event log: what was written is read, whatever became of the end of the file."""

import os
import resource
import signal
import struct
import subprocess
import sys
import zlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.recording.errors import LogReadError, LogWriteError
from realtime.recording.log import MAX_PAYLOAD_BYTES, LogReport, LogWriter, read_all, read_log
from realtime.recording.records import EndRecord, NoteRecord

HEADER_BYTES = 12
NOTES = [NoteRecord(host_ns=10**12 + k, kind="test", text="x" * (7 * k % 50)) for k in range(5)]


def encoded(record):
    return msgspec.msgpack.encode(record)


def write_log(path, records):
    """Write a log and return where each record begins, and where the last one ends."""
    log = LogWriter(path)
    offsets = [log.n_bytes]
    for record in records:
        log.append(encoded(record))
        offsets.append(log.n_bytes)
    log.close()
    return offsets


@given(st.lists(st.builds(NoteRecord, st.integers(0, 2**62), st.text(), st.text())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_are_read_in_the_order_in_which_they_were_written(tmp_path, records):
    path = tmp_path / "events.log"
    path.unlink(missing_ok=True)
    *_, end = write_log(path, records)
    assert read_all(path) == (records, LogReport(n_records=len(records), n_bytes=end, torn_bytes=0))
    assert list(read_log(path)) == records


def test_the_format_is_what_it_says(tmp_path):
    write_log(tmp_path / "events.log", NOTES[:1])
    payload = encoded(NOTES[0])
    assert (tmp_path / "events.log").read_bytes() == (
        b"POSELOOP\x01\x00\x00\x00" + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    )


def test_a_record_is_in_the_file_as_soon_as_append_returns(tmp_path):
    log = LogWriter(tmp_path / "events.log")
    log.append(encoded(NOTES[0]))
    assert read_all(tmp_path / "events.log")[0] == NOTES[:1]
    log.close()


def test_a_log_torn_anywhere_in_its_last_record_gives_all_the_others(tmp_path):
    path = tmp_path / "events.log"
    *_, last, end = write_log(path, NOTES)
    for size in range(end - 1, last - 1, -1):
        os.truncate(path, size)
        assert read_all(path) == (NOTES[:-1], LogReport(len(NOTES) - 1, last, size - last))


def test_a_log_torn_in_its_header_is_an_empty_one(tmp_path):
    path = tmp_path / "events.log"
    write_log(path, [])
    for size in range(HEADER_BYTES - 1, -1, -1):
        os.truncate(path, size)
        assert read_all(path) == ([], LogReport(0, 0, size))


def test_zeros_that_a_power_cut_left_at_the_end_are_a_torn_tail(tmp_path):
    path = tmp_path / "events.log"
    *_, end = write_log(path, NOTES)
    with path.open("ab") as file:
        file.write(bytes(1000))
    assert read_all(path) == (NOTES, LogReport(len(NOTES), end, 1000))


def test_any_flipped_bit_before_the_last_record_is_an_error_that_says_where(tmp_path):
    path = tmp_path / "events.log"
    offsets = write_log(path, NOTES)
    whole = path.read_bytes()
    for at in range(offsets[2], offsets[3]):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            seen = []
            with pytest.raises(LogReadError) as caught:
                seen.extend(read_log(path))
            assert seen == NOTES[:2]
            assert (caught.value.offset, caught.value.n_records) == (offsets[2], 2)
            assert str(caught.value) == (
                f"{path}: record 2 at byte {offsets[2]} is damaged; the 2 records before it are whole, and another "
                f"whole one follows at byte {offsets[3]}"
            )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 something else", r"expected a file that begins with b'POSELOOP', got b'PK\x03\x04 som'"),
        (b"POSE", None),
        (b"PASE", "expected a file that begins with b'POSELOOP', got b'PASE'"),
        (b"POSELOOP\x02\x00\x00\x00", "expected an event log of version 1, got version 2"),
    ],
    ids=["another format", "torn header", "short and another format", "another version"],
)
def test_what_is_no_event_log_is_an_error(tmp_path, content, message):
    path = tmp_path / "events.log"
    path.write_bytes(content)
    if message is None:
        assert read_all(path)[1].torn_bytes == len(content)
        return
    with pytest.raises(LogReadError) as caught:
        read_all(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_record_of_another_kind_is_an_error_that_says_where(tmp_path):
    path = tmp_path / "events.log"
    log = LogWriter(path)
    log.append(encoded(NOTES[0]))
    at = log.n_bytes
    log.append(msgspec.msgpack.encode({"type": "note", "host_ns": "noon", "kind": "k", "text": "t"}))
    log.close()
    with pytest.raises(LogReadError) as caught:
        read_all(path)
    assert str(caught.value) == (
        f"{path}: record 1 at byte {at} is not understood: Expected `int`, got `str` - at `$.host_ns`"
    )


def test_a_log_is_never_overwritten(tmp_path):
    path = tmp_path / "events.log"
    path.write_text("mine")
    with pytest.raises(LogWriteError) as caught:
        LogWriter(path)
    assert str(caught.value) == f"{path}: could not create the event log: File exists"
    assert path.read_text() == "mine"


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD_BYTES + 1])
def test_payloads_that_could_not_be_read_back_are_refused(tmp_path, size):
    log = LogWriter(tmp_path / "events.log")
    with pytest.raises(ValueError, match=f"expected a payload of 1 to 1048576 bytes, got {size}"):
        log.append(bytes(size))
    log.close()


@pytest.mark.parametrize("limit", [0, 5, HEADER_BYTES, 100, 1000, 1001, 1060])
def test_a_file_that_may_grow_no_further_ends_with_a_whole_record(tmp_path, limit):
    """Stands for a full disk: a size limit cuts a write short, or refuses it, just as ENOSPC does."""
    path = tmp_path / "events.log"
    script = (
        "import sys, msgspec\n"
        "from pathlib import Path\n"
        "from realtime.recording.errors import LogWriteError\n"
        "from realtime.recording.log import LogWriter\n"
        "from realtime.recording.records import EndRecord\n"
        "try:\n"
        "    log = LogWriter(Path(sys.argv[1]))\n"
        "    for k in range(100):\n"
        "        log.append(msgspec.msgpack.encode(EndRecord(k, 'r' * k, {})))\n"
        "except LogWriteError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    records, report = read_all(path)
    assert records == [EndRecord(k, "r" * k, {}) for k in range(len(records))]
    assert report.torn_bytes == 0
    assert report.n_bytes <= limit
    what = f"record {len(records)}" if report.n_bytes else "the file header"
    assert done.stdout.startswith(f"{path}: could not write {what} at byte {report.n_bytes}: ")


def test_a_writer_killed_at_any_moment_leaves_every_record_it_reported(tmp_path):
    script = (
        "import os, sys, msgspec\n"
        "from pathlib import Path\n"
        "from realtime.recording.log import LogWriter\n"
        "from realtime.recording.records import NoteRecord\n"
        "log = LogWriter(Path(sys.argv[1]))\n"
        "k = 0\n"
        "while True:\n"
        "    log.append(msgspec.msgpack.encode(NoteRecord(k, 'k', 'x' * (k % 977))))\n"
        "    k += 1\n"
        "    os.write(1, k.to_bytes(8, 'little'))\n"
    )
    for run in range(3):
        path = tmp_path / f"events{run}.log"
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        for _ in range(211 + 97 * run):
            writer.stdout.read(8)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.stdout.close()
        writer.wait()
        n_reported = 211 + 97 * run + len(rest) // 8
        records, report = read_all(path)
        assert len(records) in {n_reported, n_reported + 1}
        assert [record.host_ns for record in records] == list(range(len(records)))
        assert report.n_records == len(records)
