"""Checkpoints: all that a training needs to go on where it was, in one file that is there whole or not at all."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError

_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training at rest.

    Attributes:
        arrays: Weights and optimiser state by name.
        state: The rest, as JSON-able values.
    """

    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write the file; a crash on the way leaves the one that was there."""
        arrays: dict[str, Any] = {**self.arrays, _STATE: np.frombuffer(json.dumps(self.state).encode(), np.uint8)}
        written = path.with_suffix(".part")
        with written.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read the file.

        Raises:
            TrainingInputError: It is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            state = json.loads(arrays.pop(_STATE).tobytes())
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingInputError(
                f"{path}: expected the checkpoint of a training, got a damaged file ({error}); start again with "
                "--overwrite"
            ) from error
        return cls(arrays, state)
