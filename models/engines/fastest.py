"""Which precision is the fastest that a processor, an engine and a model have: what `precision = "auto"` means.

In bfloat16 the crops of two flies took a third of float32's time on a processor with AMX. Where bfloat16 is vectors
alone (AVX-512 BF16) 8-bit integers are faster; with AVX2 alone they took 0.6 of it. See `models/README.md`.
"""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from models.engines.options import INT8_ENGINES, EngineOptions, Precision

Options = TypeVar("Options", bound=EngineOptions)
# Where Linux says what its processors can do; elsewhere nobody is known to have AMX.
CPUINFO = Path("/proc/cpuinfo")


def with_fastest(options: Options, offered: Collection[Precision]) -> Options:
    """Return the options with a precision in the place of `auto`: int8, else bf16, else fp32; with AMX bf16 first.

    Args:
        options: Any; those that name a precision come back as they are.
        offered: The precisions in which the model can be run.
    """
    if options.precision != "auto":
        return options
    return options.model_copy(update={"precision": _fastest(options, offered)})


def concrete(options: EngineOptions) -> Precision:
    """Return the precision of options that `with_fastest` gave."""
    assert options.precision != "auto"  # noqa: S101  # it leaves none
    return options.precision


def _fastest(options: EngineOptions, offered: Collection[Precision]) -> Precision:
    has_int8 = "int8" in offered and options.engine in INT8_ENGINES
    if has_int8 and not _processor_has_amx():
        return "int8"
    if "bf16" in offered and options.engine == "openvino" and _processor_has_bfloat16():
        return "bf16"
    return "int8" if has_int8 else "fp32"


def _processor_has_amx() -> bool:
    """Return whether the processor multiplies matrices of bfloat16."""
    try:
        return "amx_bf16" in CPUINFO.read_text(encoding="utf-8").split()
    except OSError:
        return False


def _processor_has_bfloat16() -> bool:
    try:
        openvino = import_module("models.engines.openvino")
    except ImportError:  # whoever opens the engine says what is missing
        return False
    return bool(openvino.processor_has_bfloat16())
