"""Stored metrics: the `metrics.*.npz` that SLEAP leaves beside a model, read without running what is in them.

Such a file is a pickle, and unpickling runs whatever the file asks for. Here `pickletools.genops` lists its
instructions, which executes nothing, and a small machine follows the few that arrays and numbers are made of. What a
class or function does is decided by its name alone, in the table `_MAKERS`; nothing is ever imported or called on the
file's behalf, and everything unknown is an error.
"""

import pickletools
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import LabelsError

_MEMBER = "metrics.npy"
_MAX_BYTES = 1 << 28


def read_stored_metrics(path: Path) -> dict[str, Any]:
    """Return the metrics by their names, as numbers and arrays.

    Raises:
        LabelsError: The file is missing or damaged, or asks for something that metrics are not made of.
    """
    if not path.is_file():
        raise LabelsError(f"{path}: no such file")
    try:
        metrics = _Machine(_pickle_of(path)).run()
        if not (isinstance(metrics, dict) and all(isinstance(name, str) for name in metrics)):
            raise ValueError("expected a dictionary of metrics, got something else")
        return {name: _plain(value) for name, value in metrics.items()}
    # What a damaged archive, header or list of instructions raises, found by damaging some.
    except (
        *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
        *(ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    ) as error:
        raise LabelsError(f"{path}: not SLEAP's stored metrics: {error}") from error


def _pickle_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(_MEMBER).file_size > _MAX_BYTES:
            raise ValueError(f"expected at most {_MAX_BYTES} bytes, got more")
        content = archive.read(_MEMBER)
    # NumPy's format: magic, version, length of the header, header; 2 bytes say the length in version 1, later 4.
    start = 10 if content[6:7] == b"\x01" else 12
    end = start + int.from_bytes(content[8:start], "little")
    if not (content.startswith(b"\x93NUMPY") and b"'descr': '|O'" in content[start:end]):
        raise ValueError("expected an array of objects, got something else")
    return content[end:]


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function that the file names."""

    name: str


@dataclass(slots=True)
class _Array:
    """An array before the file has said what is in it."""

    values: Any = None


@dataclass(slots=True)
class _Dtype:
    """A type of numbers: its code, and its byte order once the file has said it."""

    code: str
    order: str = "|"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


def _dtype(code: str, *_: object) -> _Dtype:
    if code not in {"O8", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}:
        raise ValueError(f"expected the type of a number, got {code}")
    return _Dtype(code)


def _number(dtype: _Dtype, content: bytes) -> Any:
    if dtype.code == "O8":
        raise ValueError("expected a number, got an object")
    return np.frombuffer(content, dtype.numpy(), count=1)[0].item()


_MAKERS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray _reconstruct": lambda *_: _Array(),
    "numpy._core.multiarray _reconstruct": lambda *_: _Array(),
    "numpy.core.multiarray scalar": _number,
    "numpy._core.multiarray scalar": _number,
    "numpy dtype": _dtype,
}
"""What the functions of a file make. Classes, SLEAP's `PointArray` among them, are only ever arguments of these."""


def _fill(target: Any, state: Any) -> None:
    """Give an array or a type what the file says about it."""
    if isinstance(target, _Dtype):
        if state[1] not in {"<", ">", "|", "="}:
            raise ValueError(f"expected a byte order, got {state[1]!r}")
        target.order = state[1]
    elif isinstance(target, _Array):
        _version, shape, dtype, is_fortran, content = state
        if dtype.code == "O8":
            target.values = np.empty(len(content), object)
            target.values[:] = content
        else:
            target.values = np.frombuffer(content, dtype.numpy())
        target.values = target.values.reshape(shape, order="F" if is_fortran else "C")
    else:
        raise ValueError(f"expected an array, got {type(target).__name__}")


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.values is None or value.values.dtype == object:
            raise ValueError("expected numbers in every array, got objects")
        return value.values.item() if value.values.shape == () else value.values
    return value


class _Machine:
    """A stack machine for the instructions that metrics need."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the file says; of an array of one object that object."""
        for opcode, argument, _ in pickletools.genops(self._content):
            if opcode.name == "STOP":
                table = self._stack.pop()
                return table.values.item() if isinstance(table, _Array) else table
            self._step(opcode.name, argument)
        raise ValueError("expected an end, got none")

    def _step(self, name: str, argument: Any) -> None:
        if name in {"PROTO", "FRAME"}:
            return
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            self._stack.append(tuple(self._take(int(name[-1]))))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise ValueError(f"the instruction {name} is none that numbers need")

    def _take(self, n: int) -> list[Any]:
        taken = self._stack[-n:]
        if len(taken) < n:
            raise ValueError("an instruction has too few operands")
        del self._stack[-n:]
        return taken

    def _take_marked(self) -> list[Any]:
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._take_marked()))

    def put(self, place: Any) -> None:
        self._memory[len(self._memory) if place is None else place] = self._stack[-1]

    def get(self, place: Any) -> None:
        self._stack.append(self._memory[place])

    def name(self, qualified: Any) -> None:
        self._stack.append(_Name(qualified if qualified is not None else " ".join(self._take(2))))

    def reduce(self, _: Any) -> None:
        function, arguments = self._take(2)
        maker = _MAKERS.get(function.name) if isinstance(function, _Name) else None
        if maker is None:
            raise ValueError(f"it asks to call {getattr(function, 'name', function)!r}, which no number needs")
        self._stack.append(maker(*arguments))

    def build(self, _: Any) -> None:
        state = self._stack.pop()
        _fill(self._stack[-1], state)

    def append(self, _: Any) -> None:
        self._extend(self._take(1))

    def append_all(self, _: Any) -> None:
        self._extend(self._take_marked())

    def set_item(self, _: Any) -> None:
        self._update(self._take(2))

    def set_items(self, _: Any) -> None:
        self._update(self._take_marked())

    def _extend(self, values: list[Any]) -> None:
        self._stack[-1].extend(values)

    def _update(self, flat: list[Any]) -> None:
        self._stack[-1].update(zip(flat[::2], flat[1::2], strict=True))


_LITERALS = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_all,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
}
