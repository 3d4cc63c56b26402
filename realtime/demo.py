"""What `poseloop demo` adds to a session: a ZMQ subscriber in another process, as a user's own program would be."""

import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Self

from realtime.rig import Rig


class Listener:
    """Runs `triggers.zmq_listen` on the rig's `zmq` trigger while the context lasts.

    Attributes:
        n_received: Commands that it received; known after the context.
    """

    def __init__(self, rig: Rig) -> None:
        address = next(
            choice.options.model_dump()["address"] for choice in rig.triggers.values() if choice.name == "zmq"
        )
        self._command = [sys.executable, "-m", "triggers.zmq_listen", address, "--pattern", "pub", "--json"]
        self.n_received = 0

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(self._command, stdout=self._output, process_group=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._output.seek(0)
        self.n_received = sum('"pulse"' in line for line in self._output)
        self._output.close()
