"""What can go wrong with a camera.

CameraError
├── CameraNotInstalledError (ImportError)   the vendor's package is missing
├── CameraNotOpenError (OSError)            no such device or file, or it is in use
├── CameraFailedError (RuntimeError)        it failed while running: unplugged, damaged video
└── CameraTimeoutError (TimeoutError)       it stopped delivering frames
"""


class CameraError(Exception):
    """Any failure of a camera."""


class CameraNotInstalledError(CameraError, ImportError):
    """The package that a driver needs is not installed."""


class CameraNotOpenError(CameraError, OSError):
    """The camera or the file cannot be opened."""


class CameraFailedError(CameraError, RuntimeError):
    """The camera failed while it was running."""


class CameraTimeoutError(CameraError, TimeoutError):
    """The camera delivered nothing for too long."""
