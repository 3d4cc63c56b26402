"""What is OpenVINO's own; test_engines.py has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

openvino = pytest.importorskip("openvino")

from models.engines.openvino import OpenVinoEngine  # noqa: E402
from models.engines.options import EngineOptions  # noqa: E402
from models.errors import ModelFailedError, ModelNotOpenError  # noqa: E402

PATH = Path("folder/model.onnx")


@pytest.mark.parametrize(("asked", "threads"), [(None, len(os.sched_getaffinity(0))), (1, 1)])
def test_it_is_compiled_for_latency_in_float32_on_the_threads_asked_for(network_case, asked, threads):
    engine = OpenVinoEngine(network_case.graph, PATH, EngineOptions(engine="openvino", threads=asked))
    compiled, _ = engine._for_batch(1)
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert str(compiled.get_property("PERFORMANCE_HINT")) == "PerformanceMode.LATENCY" or (
        compiled.get_property("PERFORMANCE_HINT") == "LATENCY"
    )
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == 1
    assert not compiled.get_property("ENABLE_CPU_PINNING")


def test_a_damaged_graph_is_refused_in_openvinos_words(plain_case):
    with pytest.raises(ModelNotOpenError) as error:
        OpenVinoEngine(plain_case.graph[:50], PATH, EngineOptions(engine="openvino"))
    assert str(error.value) == (
        "folder/model.onnx: OpenVINO cannot load the graph: Error during import of ONNX model provided as input stream "
        " with binary protobuf message."
    )


def test_failing_inference_is_reported(plain_case):
    bound = OpenVinoEngine(plain_case.graph, PATH, EngineOptions(engine="openvino")).bind(
        (1, 4, 6), plain_case.arrays(1)
    )

    class Broken:
        def infer(self):
            raise RuntimeError("Exception from somewhere.cpp:12:\nno more memory\n")

    bound._request = Broken()
    with pytest.raises(ModelFailedError) as error:
        bound.run(plain_case.images(1))
    assert str(error.value) == "folder/model.onnx: inference failed: no more memory"


ASKED = """
import ctypes
import openvino
from models.engines.openvino import has_bfloat16
from models.engines.signal_stack import _Stack

def stack():
    found = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.start, found.flags

core = openvino.Core()
before = stack()
has_bfloat16(core)
print(stack() == before)
"""


def test_to_ask_for_bfloat16_leaves_the_signal_stack_alone():
    """Another one would be freed with its model, and the next Ctrl-C after that end the process."""
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
