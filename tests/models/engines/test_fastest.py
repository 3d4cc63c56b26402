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

NO_BF16, BF16, AMX = (False, False), (True, False), (True, True)

CASES = {
    "bfloat16 where it is matrices": ("openvino", AMX, ALL, "bf16"),
    "integers where it is vectors": ("openvino", BF16, ALL, "int8"),
    "integers where there is none": ("openvino", NO_BF16, ALL, "int8"),
    "integers where the way of running it has no bfloat16": ("openvino", AMX, ("fp32", "fp16", "int8"), "int8"),
    "bfloat16 is for one engine": ("onnxruntime", AMX, ALL, "int8"),
    "a model without integers": ("openvino", NO_BF16, ("fp32", "fp16", "bf16"), "fp32"),
    "a model without integers where bfloat16 is vectors": ("openvino", BF16, ("fp32", "fp16", "bf16"), "bf16"),
    "nothing but float32": ("onnxruntime", AMX, PLAIN, "fp32"),
    "an engine without integers": ("tensorflow", AMX, ALL, "fp32"),
}


@pytest.mark.parametrize(("engine", "processor", "offered", "expected"), CASES.values(), ids=CASES.keys())
def test_the_fastest_that_processor_engine_and_model_have(monkeypatch, engine, processor, offered, expected):
    has_bfloat16, has_amx = processor
    monkeypatch.setattr(fastest, "_processor_has_bfloat16", lambda: has_bfloat16)
    monkeypatch.setattr(fastest, "_processor_has_amx", lambda: has_amx)
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

    monkeypatch.setattr(fastest, "_processor_has_amx", lambda: True)
    monkeypatch.setattr(fastest, "import_module", missing)
    assert with_fastest(EngineOptions(engine="openvino", precision="auto"), ALL).precision == "int8"


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu amx_bf16 amx_tile", True), ("fpu avx512_bf16 avx512_vnni", False), (None, False)]
)
def test_linux_says_whether_there_is_amx(monkeypatch, tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: 4000.0\n")
    monkeypatch.setattr(fastest, "CPUINFO", cpuinfo)
    engine = pytest.importorskip("models.engines.openvino")
    monkeypatch.setattr(engine, "processor_has_bfloat16", lambda: True)
    chosen = with_fastest(EngineOptions(engine="openvino", precision="auto"), ALL).precision
    assert chosen == ("bf16" if expected else "int8")


def test_openvino_is_asked_for_bfloat16(monkeypatch):
    engine = pytest.importorskip("models.engines.openvino")
    monkeypatch.setattr(fastest, "_processor_has_amx", lambda: True)
    chosen = with_fastest(EngineOptions(engine="openvino", precision="auto"), ALL).precision
    assert chosen == ("bf16" if engine.processor_has_bfloat16() else "int8")


def test_no_engine_chooses_by_itself():
    with pytest.raises(ModelNotOpenError, match=r"some/model\.onnx: precision: expected one that was chosen"):
        open_engine(b"", Path("some/model.onnx"), EngineOptions(precision="auto", fallback="cpu"))
