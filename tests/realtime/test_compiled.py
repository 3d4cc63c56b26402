import subprocess
import sys
from pathlib import Path

import pytest

KERNEL = """
from realtime.compiled import compiled
from part import STEP, twice

@compiled
def value():
    return twice() + STEP

print(value())
"""
PART = """
from realtime.compiled import compiled

STEP = {step}

@compiled
def twice():
    return {twice}
"""


def _run(folder: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-B", "kernel.py"], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


def test_machine_code_is_made_anew_when_what_it_was_made_of_changes(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL)
    for step, twice in ((1, 10), (2, 10), (2, 20)):
        (tmp_path / "part.py").write_text(PART.format(step=step, twice=twice))
        assert _run(tmp_path) == step + twice


def test_machine_code_is_kept_for_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "part.py").write_text(PART.format(step=1, twice=10))
    _run(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert len(kept) == 2
    _run(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept


ALLOCATING = """
import numpy as np
from numba.core.errors import NumbaError
from realtime.compiled import compiled, inner

@inner
def part(n):
    return np.zeros(n)

@compiled
def value():
    return part(3).sum()

try:
    value()
except NumbaError:
    print(1)
"""


def test_what_allocates_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(ALLOCATING)
    assert _run(tmp_path) == 1


LONG = """
from realtime.compiled import compiled, {kind}

@{kind}
def part(x):
    {steps}
    return x

@compiled
def value(x):
    return part(x) + part(x + 1.0)

value(1.0)
print(sum("_ZN8__main__4part" in code for code in value.inspect_asm().values()))
"""


@pytest.mark.parametrize(("kind", "n_calling"), [("inner", 1), ("inlined", 0)])
def test_a_long_function_is_called_unless_it_is_inlined(kind: str, n_calling: int, tmp_path: Path) -> None:
    steps = "\n    ".join(f"x = x * x if x > {k}.0 else x / {k}.5" for k in range(60))
    (tmp_path / "kernel.py").write_text(LONG.format(kind=kind, steps=steps))
    assert _run(tmp_path) == n_calling
