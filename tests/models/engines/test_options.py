"""Which combinations of engine, device, provider and precision there are."""

import pytest
from pydantic import ValidationError

from models.engines.options import EngineOptions


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "tensorrt"}, "device: expected cuda for engine tensorrt, got cpu"),
        ({"engine": "openvino", "device": "cuda"}, "device: expected cpu for engine openvino, got cuda"),
        ({"engine": "tensorflow", "device": "cuda"}, "device: expected cpu for engine tensorflow, got cuda"),
        (
            {"provider": "tensorrt"},
            "provider: tensorrt is for engine onnxruntime on device cuda, got engine onnxruntime on device cpu",
        ),
        (
            {"engine": "tensorrt", "device": "cuda", "provider": "tensorrt"},
            "provider: tensorrt is for engine onnxruntime on device cuda, got engine tensorrt on device cuda",
        ),
        (
            {"engine": "openvino", "precision": "fp16"},
            "precision: expected fp32 on device cpu, got fp16; half precision needs cuda",
        ),
        ({"precision": "fp16"}, "precision: expected fp32 on device cpu, got fp16; half precision needs cuda"),
        (
            {"engine": "tensorflow", "precision": "int8"},
            "precision: expected fp32 for engine tensorflow on device cpu, got int8; int8 needs engine onnxruntime or "
            "openvino on device cpu",
        ),
        (
            {"device": "cuda", "precision": "int8"},
            "precision: expected fp32 for engine onnxruntime on device cuda, got int8; int8 needs engine onnxruntime "
            "or openvino on device cpu",
        ),
        (
            {"engine": "tensorrt", "device": "cuda", "precision": "auto"},
            "precision: expected fp32 or fp16 on device cuda, got auto; auto needs cpu",
        ),
    ],
)
def test_impossible_combinations_are_refused(given, message):
    with pytest.raises(ValidationError) as error:
        EngineOptions(**given)
    assert [fault["msg"] for fault in error.value.errors()] == [f"Value error, {message}"]


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({}, "onnxruntime on cpu, fp32"),
        ({"device": "cuda", "precision": "fp16"}, "onnxruntime on cuda, fp16"),
        ({"device": "cuda", "provider": "tensorrt"}, "onnxruntime (tensorrt) on cuda, fp32"),
        ({"engine": "tensorrt", "device": "cuda"}, "tensorrt on cuda, fp32"),
    ],
)
def test_possible_ones_have_a_title(given, title):
    assert EngineOptions(**given).title == title
