"""What can go wrong with a recording.

RecordingError
├── LogWriteError (OSError)             the event log cannot be written: disk full, file exists already
├── LogReadError (ValueError)           not an event log, another version, a damaged record
├── VideoWriteError (OSError)           the video cannot be written: disk full, no such encoder
└── RecorderNotStartedError (OSError)   the recorder process did not start
"""


class RecordingError(Exception):
    """Any failure of a recording."""


class LogWriteError(RecordingError, OSError):
    """The event log cannot be written."""


class LogReadError(RecordingError, ValueError):
    """The event log cannot be read, or not beyond some record.

    Attributes:
        offset: Where in the file the trouble begins, bytes.
        n_records: Whole records before it.
    """

    def __init__(self, message: str, offset: int, n_records: int) -> None:
        super().__init__(message)
        self.offset = offset
        self.n_records = n_records


class VideoWriteError(RecordingError, OSError):
    """The video cannot be written."""


class RecorderNotStartedError(RecordingError, OSError):
    """The recorder process did not start."""
