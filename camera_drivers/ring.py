"""FrameRing: shared memory that one camera process fills and that two consumers read without copying.

Slots change hands through pipes: the writer puts a slot's number into every consumer's queue, the consumer puts it
into the common pipe of released slots. The kernel makes each hand-over atomic and ordered between processors, wakes
the sleeper, and lets the writer take back what a slow consumer has not fetched yet by reading that consumer's queue
itself; a process that is killed at any point leaves nothing locked.
"""

import fcntl
import json
import math
import mmap
import os
import select
import struct
import sys
import termios
import time
from dataclasses import asdict, dataclass, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from camera_drivers.frame import Frame

Consumer = Literal["loop", "recorder"]
Policy = Literal["latest", "every"]
Overflow = Literal["drop_oldest", "drop_newest", "wait"]
Reason = Literal[
    "skipped_by_loop",
    "overwritten_for_recorder",
    "ring_full",
    "repeated_frame_id",
    "backward_frame_id",
    "backward_timestamp",
    "device_gap",
    "incomplete",
]

CONSUMERS: tuple[Consumer, ...] = get_args(Consumer)
REASONS: tuple[Reason, ...] = get_args(Reason)
_MISSED_BY: dict[Consumer, Reason] = {"loop": "skipped_by_loop", "recorder": "overwritten_for_recorder"}

# The first page holds int64 cells, each written by one process only; the counters have a row for every process.
_ENDED, _ERROR_BYTES, _STATES, _COUNTERS = 0, 1, 2, 8
_ERROR_OFFSET, _ERROR_LIMIT = 1024, 3072
_PAGE = 4096
_CELL_BYTES = 8
_META_BYTES = 64  # a cache line for every slot
_NO_DEVICE_TIME = -(1 << 63)
_OFF, _EXPECTED, _ATTACHED, _GONE = range(4)
_TAKES_PART = (False, True, True, False)  # by state
_END = -1
_NUMBER_BYTES = 8
# What is written of a frame: id, time stamp, available, device time.
_META = struct.Struct("<4q")
_MAX_CAPACITY = 4096
_LOOK_AROUND_S = 0.05


@dataclass(frozen=True, slots=True)
class RingHandle:
    """What another process needs to attach to a ring.

    Attributes:
        fds: File descriptors; hand them to the child as `pass_fds`.
        height: Image height, px.
        width: Image width, px.
        channels: 1 (gray) or 3 (RGB).
        capacity: Number of slots.
        overflow: What the writer does when every slot is taken.
    """

    fds: tuple[int, ...]
    height: int
    width: int
    channels: int
    capacity: int
    overflow: Overflow

    def to_json(self) -> str:
        """Return the handle as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "fds": tuple(fields["fds"])})


class _Memory:
    """The ring's shared memory as arrays."""

    def __init__(self, handle: RingHandle) -> None:
        self.shape = (handle.height, handle.width, 3)[: 3 if handle.channels == 3 else 2]
        stride = _whole_pages(math.prod(self.shape))
        first = _PAGE + _whole_pages(handle.capacity * _META_BYTES)
        n_bytes = first + handle.capacity * stride
        os.posix_fallocate(handle.fds[0], 0, n_bytes)  # otherwise a lack of memory is a SIGBUS later
        # Populated, so that no frame pays for page faults.
        self.bytes = mmap.mmap(handle.fds[0], n_bytes, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        # Not an array: a cell is read several times a frame, by code that has just been woken.
        self.cells = memoryview(self.bytes)[:_ERROR_OFFSET].cast("q")
        n_counters = len(REASONS) * (1 + len(CONSUMERS))
        counters = np.frombuffer(self.bytes, np.int64, n_counters, _COUNTERS * _CELL_BYTES)
        self.counters = counters.reshape(-1, len(REASONS))
        self.images = [
            np.frombuffer(self.bytes, np.uint8, math.prod(self.shape), first + slot * stride).reshape(self.shape)
            for slot in range(handle.capacity)
        ]


class FrameRing:
    """A pre-allocated ring of frames in shared memory; one writer, and each consumer attaches at most once.

    A consumer takes part from `expect` or `reader` on; one that is closed or dead holds nothing back. The parent
    creates the ring, hands `handle()` to the children, and one of these processes, always the same, calls `put`.
    """

    def __init__(self, handle: RingHandle) -> None:
        self._handle = handle
        self._memory = _Memory(handle)
        # The writer's own book: who has each slot (bit k: CONSUMERS[k]), how many each has, which are free.
        self._holders = [0] * handle.capacity
        self._n_given = [0] * len(CONSUMERS)
        self._queues = tuple(self._queue(k)[1] for k in range(len(CONSUMERS)))
        self._free = list(range(handle.capacity))
        self._numbers = [_number(slot) for slot in range(handle.capacity)]
        self._prepared: tuple[NDArray[np.uint8], int] | None = None  # an image, and the slot that holds it
        self._wardens: list[int | None] = [None] * len(CONSUMERS)
        self._closed = False

    @classmethod
    def create(cls, height: int, width: int, channels: int, capacity: int, overflow: Overflow = "drop_oldest") -> Self:
        """Allocate a ring.

        Args:
            height: Image height, px.
            width: Image width, px.
            channels: 1 (gray) or 3 (RGB).
            capacity: Number of slots, from 3 (one for each consumer to look at and one to write to) to 4096.
            overflow: What `put` does when every slot is taken: take back the oldest frame that no consumer looks at,
                drop the new frame, or wait.

        Raises:
            OSError: There is not enough memory.
        """
        if not len(CONSUMERS) < capacity <= _MAX_CAPACITY:
            raise ValueError(f"ring: expected a capacity of 3 to {_MAX_CAPACITY} frames, got {capacity}")
        fds = [os.memfd_create("poseloop-frames")]
        try:
            for _ in range(1 + len(CONSUMERS)):
                fds += os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
                # Linux gives smaller pipes to a user who has many, and reuses a page only once it is read to its end.
                n_bytes = _NUMBER_BYTES * (len(CONSUMERS) * capacity + 1)
                fcntl.fcntl(fds[-1], fcntl.F_SETPIPE_SZ, n_bytes + _PAGE)
            return cls(RingHandle(tuple(fds), height, width, channels, capacity, overflow))
        except OSError:
            for fd in fds:
                os.close(fd)
            raise

    @classmethod
    def attach(cls, handle: RingHandle) -> Self:
        """Open a ring that another process has created; the handle's own descriptors stay open."""
        return cls(replace(handle, fds=tuple(os.dup(fd) for fd in handle.fds)))

    def handle(self) -> RingHandle:
        """Return what another process needs to attach."""
        return self._handle

    @property
    def drops(self) -> dict[Reason, int]:
        """Frames lost so far, by reason; reasons that did not occur are left out."""
        totals = self._memory.counters.sum(axis=0).tolist()
        return {reason: total for reason, total in zip(REASONS, totals, strict=True) if total}

    def expect(self, consumer: Consumer) -> None:
        """Keep frames for a consumer from now on, though it attaches later."""
        state = _STATES + CONSUMERS.index(consumer)
        if self._memory.cells[state] == _OFF:
            self._memory.cells[state] = _EXPECTED

    def dismiss(self, consumer: Consumer) -> None:
        """Stop keeping frames for a consumer, because it has died before it attached."""
        self._memory.cells[_STATES + CONSUMERS.index(consumer)] = _GONE

    def reader(self, consumer: Consumer, policy: Policy) -> "RingReader":
        """Attach as a consumer that gets every frame, or the newest with the others counted as skipped.

        Args:
            consumer: Which.
            policy: Which frames it gets.

        Raises:
            RuntimeError: This consumer has been attached before.
        """
        k = CONSUMERS.index(consumer)
        if self._memory.cells[_STATES + k] in {_ATTACHED, _GONE}:
            raise RuntimeError(f"ring: expected one {consumer} in a session, got a second")
        reader = RingReader(self._handle, self._memory, k, policy)
        self._memory.cells[_STATES + k] = _ATTACHED
        return reader

    def close(self) -> None:
        """Release the descriptors; images in use stay valid. May be called twice."""
        if not self._closed:
            self._closed = True
            for fd in (*self._handle.fds, *self._wardens):
                if fd is not None:
                    os.close(fd)

    def prepare(self, image: NDArray[np.uint8]) -> None:
        """Copy an image that will be `put` next, so that `put` need not (writer).

        Nothing happens if no slot is free or the image does not fit: `put` will say so. It is as with a camera that
        writes into the ring itself: when the frame is complete, it lies there.

        Args:
            image: As for `put`; the same object has to be put, unchanged.
        """
        if self._prepared is not None:
            if self._prepared[0] is image:
                return
            self._free.append(self._prepared[1])
            self._prepared = None
        self._collect()
        if self._free and self._fits(image):
            slot = self._free.pop()
            np.copyto(self._memory.images[slot], image)
            self._prepared = image, slot

    def put(self, frame: Frame, *, timeout_s: float = 0.0) -> bool:
        """Copy a frame into the ring (writer).

        Args:
            frame: Its image is of the ring's shape.
            timeout_s: How long to wait for a free slot, with overflow "wait" only.

        Returns:
            False if the frame is not in the ring: dropped and counted as `ring_full`, or with overflow "wait" not
            counted, so that the caller tries again.

        Raises:
            ValueError: The image is not of the ring's shape.
            RuntimeError: The stream has been finished.
        """
        if self._memory.cells[_ENDED]:
            raise RuntimeError("ring: expected a running stream, got put after finish")
        slot = self._slot_with(frame.image, timeout_s)
        if slot is None:
            return False
        device_ns = _NO_DEVICE_TIME if frame.device_timestamp_ns is None else frame.device_timestamp_ns
        times_ns = frame.timestamp_ns, frame.available_ns, device_ns
        _META.pack_into(self._memory.bytes, _PAGE + slot * _META_BYTES, frame.frame_id, *times_ns)
        number = self._numbers[slot]
        for k, queue in enumerate(self._queues):
            if self._takes_part(k):
                self._holders[slot] |= 1 << k
                self._n_given[k] += 1
                os.write(queue, number)
        if not self._holders[slot]:
            self._free.append(slot)
        self._collect()  # now, when nobody waits for it
        return True

    def _slot_with(self, image: NDArray[np.uint8], timeout_s: float) -> int | None:
        """Return a slot that holds the image, or None if every slot is taken."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            if prepared[0] is image:
                return prepared[1]
            self._free.append(prepared[1])
        if not self._fits(image):
            raise ValueError(f"expected an image of uint8 {self._memory.shape}, got {image.dtype} {image.shape}")
        slot = self._free.pop() if self._free else self._make_room(timeout_s)
        if slot is not None:
            np.copyto(self._memory.images[slot], image)
        return slot

    def _fits(self, image: NDArray[np.uint8]) -> bool:
        return image.shape == self._memory.shape and image.dtype == np.uint8

    def finish(self, error: str = "") -> None:
        """End the stream: consumers get the frames that are in the ring, then `ended` and this error.

        The parent may call it in place of a writer that died. Only the first call counts.
        """
        if self._memory.cells[_ENDED]:
            return
        text = error.encode()[:_ERROR_LIMIT]
        self._memory.bytes[_ERROR_OFFSET : _ERROR_OFFSET + len(text)] = text
        self._memory.cells[_ERROR_BYTES] = len(text)
        self._memory.cells[_ENDED] = 1
        for k in range(len(CONSUMERS)):
            _send(self._queue(k)[1], _END)

    def count(self, reason: Reason, n_frames: int = 1) -> None:
        """Count frames that the writer lost or refused."""
        self._memory.counters[0, REASONS.index(reason)] += n_frames

    def _make_room(self, timeout_s: float) -> int | None:
        self._collect()
        if not self._free:
            self._look_for_dead()
        if not self._free and self._handle.overflow == "wait":
            self._wait(timeout_s)
            return self._free.pop() if self._free else None
        if not self._free and self._handle.overflow == "drop_oldest":
            self._take_back_oldest()
        if not self._free:
            self.count("ring_full")
            return None
        return self._free.pop()

    def _collect(self) -> None:
        """Enter the slots that consumers have released, and all those of consumers that are gone."""
        for number in _receive(self._handle.fds[1], 2 * self._handle.capacity):
            slot, k = divmod(number, len(CONSUMERS))
            self._let_go(slot, k)
        for k in range(len(CONSUMERS)):
            if self._n_given[k] and not self._takes_part(k):
                _receive(self._queue(k)[0], self._handle.capacity)
                for slot in range(self._handle.capacity):
                    self._let_go(slot, k)

    def _let_go(self, slot: int, k: int) -> None:
        if self._holders[slot] >> k & 1:
            self._holders[slot] &= ~(1 << k)
            self._n_given[k] -= 1
            if not self._holders[slot]:
                self._free.append(slot)

    def _look_for_dead(self) -> None:
        """A reader holds a lock that the kernel drops with its process; whoever has attached without one is dead."""
        for k in range(len(CONSUMERS)):
            if self._memory.cells[_STATES + k] == _ATTACHED:
                warden = self._wardens[k] = self._wardens[k] or _reopen(self._queue(k)[0])
                if _try_lock(warden):
                    self._memory.cells[_STATES + k] = _GONE
        self._collect()

    def _take_back_oldest(self) -> None:
        emptied = False
        while not self._free and not emptied:
            emptied = True
            for k, consumer in enumerate(CONSUMERS):
                for slot in _receive(self._queue(k)[0], 1) if not self._free else ():
                    emptied = False
                    self.count(_MISSED_BY[consumer])
                    self._let_go(slot, k)
        self._collect()  # what was not in the queues any more may have been released since

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._free and (left_s := deadline - time.monotonic()) > 0.0:
            _poll(self._handle.fds[1], min(left_s, _LOOK_AROUND_S))
            self._look_for_dead()

    def _takes_part(self, k: int) -> bool:
        return _TAKES_PART[self._memory.cells[_STATES + k]]

    def _queue(self, k: int) -> tuple[int, int]:
        return self._handle.fds[3 + 2 * k], self._handle.fds[4 + 2 * k]


class RingReader:
    """One consumer's end of a ring; made by `FrameRing.reader`."""

    def __init__(self, handle: RingHandle, memory: _Memory, k: int, policy: Policy) -> None:
        self._k = k
        self._memory = memory
        self._images = [image.view() for image in memory.images]
        for image in self._images:
            image.flags.writeable = False
        self._at_once = handle.capacity + 1 if policy == "latest" else 1
        self._queue: int | None = _reopen(handle.fds[3 + 2 * k])
        if not _try_lock(self._queue):
            raise RuntimeError(f"ring: expected one {CONSUMERS[k]} in a session, got a second")
        self._release = os.dup(handle.fds[2])
        self._poll = select.poll()
        self._poll.register(self._queue, select.POLLIN)
        self._held: int | None = None
        self._ended = False

    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None if none came within `timeout_s` or the stream has ended.

        The image is a read-only view of the ring, valid until the next `take`.
        """
        if self._queue is None:
            raise RuntimeError("ring: expected an open reader, got take after close")
        self._let_go()
        if self._ended:
            return None
        numbers = _receive(self._queue, self._at_once)
        if not numbers and timeout_s > 0.0 and self._poll.poll(timeout_s * 1e3):
            numbers = _receive(self._queue, self._at_once)
        if numbers and numbers[-1] == _END:
            self._ended = True
            numbers = numbers[:-1]
        if not numbers:
            return None
        self._held = numbers.pop()
        if numbers:
            self._pass_over(numbers)
        return self._frame(self._held)

    @property
    def n_waiting(self) -> int:
        """Frames in the ring that have not been taken yet."""
        if self._queue is None or self._ended:
            return 0
        n_bytes = int.from_bytes(fcntl.ioctl(self._queue, termios.FIONREAD, bytes(4)), sys.byteorder)
        return n_bytes // _NUMBER_BYTES - self._memory.cells[_ENDED]

    @property
    def ended(self) -> bool:
        """True once the stream has ended and every frame of it has been taken."""
        return self._ended

    @property
    def error(self) -> str:
        """What ended the stream, if it was a failure; the empty string otherwise."""
        n_bytes = self._memory.cells[_ERROR_BYTES]
        return self._memory.bytes[_ERROR_OFFSET : _ERROR_OFFSET + n_bytes].decode(errors="replace")

    def close(self) -> None:
        """Let go of the frame in hand and take no further part. May be called twice."""
        if self._queue is not None:
            self._memory.cells[_STATES + self._k] = _GONE
            os.close(self._queue)
            os.close(self._release)
            self._queue = None

    def _pass_over(self, slots: list[int]) -> None:
        for slot in slots:
            _send(self._release, slot * len(CONSUMERS) + self._k)
        self._memory.counters[1 + self._k, REASONS.index(_MISSED_BY[CONSUMERS[self._k]])] += len(slots)

    def _let_go(self) -> None:
        if self._held is not None:
            _send(self._release, self._held * len(CONSUMERS) + self._k)
            self._held = None

    def _frame(self, slot: int) -> Frame:
        frame_id, timestamp_ns, available_ns, device_ns = _META.unpack_from(
            self._memory.bytes, _PAGE + slot * _META_BYTES
        )
        device = None if device_ns == _NO_DEVICE_TIME else device_ns
        return Frame(frame_id, timestamp_ns, available_ns, device, self._images[slot])


def _whole_pages(n_bytes: int) -> int:
    return -(-n_bytes // _PAGE) * _PAGE


def _number(slot: int) -> bytes:
    return slot.to_bytes(_NUMBER_BYTES, sys.byteorder, signed=True)


def _send(fd: int, number: int) -> None:
    os.write(fd, _number(number))


def _receive(fd: int, n_numbers: int) -> list[int]:
    """Read up to `n_numbers` without waiting; a pipe keeps numbers whole, because all are written and read whole."""
    try:
        data = os.read(fd, n_numbers * _NUMBER_BYTES)
    except BlockingIOError:
        return []
    return memoryview(data).cast("q").tolist()


def _poll(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1e3))


def _reopen(pipe: int) -> int:
    """Open a pipe's reading end anew: locks belong to the opening, so one can be told from another."""
    return os.open(f"/proc/self/fd/{pipe}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
