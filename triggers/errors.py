"""What can go wrong with a trigger.

TriggerError
├── TriggerNotInstalledError (ImportError)   the package that a driver needs is missing
├── TriggerNotOpenError (OSError)            no such port, in use, no answer, another device or version
├── TriggerFailedError (RuntimeError)        it failed while running: unplugged, refused a command
└── TriggerTimeoutError (TimeoutError)       a write or an acknowledgement took too long
"""


class TriggerError(Exception):
    """Any failure of a trigger."""


class TriggerNotInstalledError(TriggerError, ImportError):
    """The package that a driver needs is not installed."""


class TriggerNotOpenError(TriggerError, OSError):
    """The port cannot be opened, or what answers there is not our device."""


class TriggerFailedError(TriggerError, RuntimeError):
    """The trigger failed while it was running."""


class TriggerTimeoutError(TriggerError, TimeoutError):
    """A write or an acknowledgement took too long."""
