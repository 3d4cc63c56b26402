"""What the loop's handle and the recorder process say to one another.

The loop sends one encoded `Record` a message; the end of the stream ends the recording. The process answers with the
messages below. One socket pair of type SEQPACKET carries both: it keeps messages whole, and what the loop has sent is
still there for the recorder when the loop is dead.
"""

from typing import Literal

import msgspec

EVENTS_FILE = "events.log"
FRAMES_FILE = "frames.log"
VIDEO_FILE = "frames.mkv"


class RecorderSpec(msgspec.Struct, frozen=True):
    """What the recorder process is told when it starts, as JSON.

    Attributes:
        folder: The session's folder; it exists.
        socket_fd: Its end of the socket pair.
        ring: A `RingHandle` as JSON text, or None where there are no frames to record.
        video: As in `RecordingOptions`.
        crf: As in `RecordingOptions`.
        encoder_threads: As in `RecordingOptions`.
    """

    folder: str
    socket_fd: int
    ring: str | None
    video: Literal["none", "lossy", "lossless"]
    crf: int
    encoder_threads: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Every file is open."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """One of the files cannot be written any more; the others go on.

    Attributes:
        reason: What failed, where and why.
    """

    reason: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Every file is closed; the last message.

    Attributes:
        n_events: Records in the event log.
        n_events_lost: Records that arrived but could not be written.
        n_frames: Camera frames in the frame log.
        n_frames_lost: Camera frames that were overwritten before the recorder came to them, or could not be written.
        n_video_frames: Camera frames in the video.
        video_pixel_format: What the encoder really used; empty without a video.
        n_bytes: Size of all files.
    """

    n_events: int
    n_events_lost: int
    n_frames: int
    n_frames_lost: int
    n_video_frames: int
    video_pixel_format: str
    n_bytes: int


Message = Ready | Failed | Finished
