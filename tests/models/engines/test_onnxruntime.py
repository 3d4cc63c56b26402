"""What is ONNX Runtime's own on the CPU; test_engines.py has the rest."""

import os
from pathlib import Path

import onnxruntime
import pytest

from models.engines.onnxruntime import OnnxRuntimeEngine, session_options
from models.engines.options import EngineOptions
from models.errors import ModelFailedError, ModelNotOpenError

PATH = Path("folder/model.onnx")


def test_a_damaged_graph_is_refused_in_onnx_runtimes_words(plain_case):
    with pytest.raises(ModelNotOpenError) as error:
        OnnxRuntimeEngine(plain_case.graph[:50], PATH, EngineOptions())
    assert str(error.value) == (
        "folder/model.onnx: ONNX Runtime cannot load the graph: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "
        "Failed to load model because protobuf parsing failed."
    )


@pytest.mark.parametrize(("asked", "threads"), [(None, len(os.sched_getaffinity(0))), (3, 3)])
def test_threads_are_those_asked_for_or_one_a_core(asked, threads):
    assert session_options(EngineOptions(threads=asked), 1).intra_op_num_threads == threads


@pytest.mark.parametrize("spinning", [False, True])
def test_waiting_threads_sleep_unless_asked_to_spin(spinning):
    options = session_options(EngineOptions(spinning=spinning), 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spinning))


def test_failing_inference_is_reported(plain_case):
    bound = OnnxRuntimeEngine(plain_case.graph, PATH, EngineOptions()).bind((1, 4, 6), plain_case.arrays(1))

    class Broken:
        def run_with_iobinding(self, binding):
            raise RuntimeError("no more memory")

    bound._session = Broken()
    with pytest.raises(ModelFailedError) as error:
        bound.run(plain_case.images(1))
    assert str(error.value) == "folder/model.onnx: inference failed: no more memory"


def test_one_session_serves_all_that_is_bound_for_a_batch(plain_case, monkeypatch):
    made = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *given, **named: made.append(1) or session(*given, **named)
    )
    engine = OnnxRuntimeEngine(plain_case.graph, PATH, EngineOptions())
    for batch in (1, 1, 2, 2):
        engine.bind((batch, 4, 6), plain_case.arrays(batch))
    assert len(made) == 2
