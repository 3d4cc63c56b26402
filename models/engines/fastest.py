"""Which precision is the fastest that a processor, an engine and a model have: what `precision = "auto"` means.

In bfloat16 the crops of two flies took a third of float32's time on a processor with AMX; 8-bit integers took 0.6 of it
on one with AVX2 alone, and have instructions of their own (VNNI) on those in between. See `models/README.md`.
"""

from collections.abc import Collection
from importlib import import_module
from typing import TypeVar

from models.engines.options import INT8_ENGINES, EngineOptions, Precision

Options = TypeVar("Options", bound=EngineOptions)


def with_fastest(options: Options, offered: Collection[Precision]) -> Options:
    """Return the options with a precision in the place of `auto`: bf16, else int8, else fp32.

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
    if "bf16" in offered and options.engine == "openvino" and _processor_has_bfloat16():
        return "bf16"
    if "int8" in offered and options.engine in INT8_ENGINES:
        return "int8"
    return "fp32"


def _processor_has_bfloat16() -> bool:
    try:
        openvino = import_module("models.engines.openvino")
    except ImportError:  # whoever opens the engine says what is missing
        return False
    return bool(openvino.processor_has_bfloat16())
