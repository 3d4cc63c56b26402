"""What `precision = "auto"` becomes."""

from pathlib import Path

import pytest

from models.engines import fastest
from models.engines.fastest import with_fastest
from models.engines.options import EngineOptions
from models.engines.registry import open_engine
from models.errors import ModelNotOpenError

ALL = ("fp32", "fp16", "bf16", "int8")
PLAIN = ("fp32", "fp16")

CASES = {
    "bfloat16 where there is some": ("openvino", True, ALL, "bf16"),
    "integers where there is none": ("openvino", False, ALL, "int8"),
    "integers where the way of running it has no bfloat16": ("openvino", True, ("fp32", "fp16", "int8"), "int8"),
    "bfloat16 is for one engine": ("onnxruntime", True, ALL, "int8"),
    "a model without integers": ("openvino", False, ("fp32", "fp16", "bf16"), "fp32"),
    "nothing but float32": ("onnxruntime", True, PLAIN, "fp32"),
    "an engine without integers": ("tensorflow", True, ALL, "fp32"),
}


@pytest.mark.parametrize(("engine", "has_bfloat16", "offered", "expected"), CASES.values(), ids=CASES.keys())
def test_the_fastest_that_processor_engine_and_model_have(monkeypatch, engine, has_bfloat16, offered, expected):
    monkeypatch.setattr(fastest, "_processor_has_bfloat16", lambda: has_bfloat16)
    given = EngineOptions(engine=engine, precision="auto", threads=3)
    assert with_fastest(given, offered) == given.model_copy(update={"precision": expected})


def test_what_names_a_precision_stays(monkeypatch):
    monkeypatch.setattr(fastest, "_processor_has_bfloat16", lambda: True)
    for precision in ("fp32", "bf16", "int8"):
        given = EngineOptions(engine="openvino", precision=precision)
        assert with_fastest(given, ALL) is given


def test_without_openvino_there_is_no_bfloat16_to_ask_for(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(fastest, "import_module", missing)
    assert with_fastest(EngineOptions(engine="openvino", precision="auto"), ALL).precision == "int8"


def test_the_processor_is_asked():
    engine = pytest.importorskip("models.engines.openvino")
    chosen = with_fastest(EngineOptions(engine="openvino", precision="auto"), ALL).precision
    assert chosen == ("bf16" if engine.processor_has_bfloat16() else "int8")


def test_no_engine_chooses_by_itself():
    with pytest.raises(ModelNotOpenError, match=r"some/model\.onnx: precision: expected one that was chosen"):
        open_engine(b"", Path("some/model.onnx"), EngineOptions(precision="auto", fallback="cpu"))
