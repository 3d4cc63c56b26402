"""What can go wrong with tracking a video offline.

OfflineError
├── OfflineInputError (ValueError)          outputs that exist, a range that the video does not have, the wrong size
│   └── OtherJobError                       the unfinished work beside the output belongs to another job
├── OfflineNotInstalledError (ImportError)  an output format needs a package that is not installed
└── WorkFileError (OSError)                 the work file cannot be written, or is in use
"""


class OfflineError(Exception):
    """Any failure of tracking a video offline."""


class OfflineInputError(OfflineError, ValueError):
    """The video, the outputs and the options do not fit together."""


class OtherJobError(OfflineInputError):
    """A work file is there, but of another video, model or engine, or of other frames."""


class OfflineNotInstalledError(OfflineError, ImportError):
    """The package that an output format needs is not installed."""


class WorkFileError(OfflineError, OSError):
    """The work file cannot be opened or written."""
