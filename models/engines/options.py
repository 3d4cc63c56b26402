"""EngineOptions: which runtime runs a model's graph, where and how."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

EngineName = Literal["onnxruntime", "openvino", "tensorrt", "tensorflow"]
Device = Literal["cpu", "cuda"]
Provider = Literal["cuda", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
PrecisionChoice = Literal[Precision, "auto"]

_DEVICES: dict[EngineName, tuple[Device, ...]] = {
    "onnxruntime": ("cpu", "cuda"),
    "openvino": ("cpu",),
    "tensorrt": ("cuda",),
    "tensorflow": ("cpu",),
}
INT8_ENGINES: tuple[EngineName, ...] = ("onnxruntime", "openvino")
"""Those that run a graph in 8-bit integers."""
MAX_THREADS = 1024
"""More than any computer has cores for; a runtime that is asked for 100,000 hangs while it starts them."""


class EngineOptions(BaseModel):
    """Settings of the runtime; the part of a rig's `[model]` that every kind of graph shares.

    Attributes:
        engine: The runtime.
        device: Where it runs. `tensorrt` needs `cuda`; `openvino` and `tensorflow` take `cpu`.
        provider: ONNX Runtime's execution provider on `cuda`: its own kernels, or TensorRT inside ONNX Runtime.
        precision: `fp16` computes the networks in half precision, on `cuda` alone; `bf16` does so with `openvino` on
            processors that have it; `int8` takes the model's graphs in 8-bit integers (see `models.quantising`), with
            `onnxruntime` or `openvino` on `cpu`. Peaks and points stay float32. `auto`, on `cpu`, is the fastest that
            processor, engine and model have (see `models.engines.fastest`); what was chosen is recorded.
        threads: Threads of one operation on `cpu`; None = one for every core that the process may use.
        spinning: Waiting threads poll instead of sleep: faster by some tens of µs where a core for each is to spare,
            ruinous where not.
        fallback: What happens where the engine or its device cannot be used: `none` = an error that names what is
            missing; `cpu` = ONNX Runtime on the CPU in its place, and the session's record says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    engine: EngineName = "onnxruntime"
    device: Device = "cpu"
    provider: Provider = "cuda"
    precision: PrecisionChoice = "fp32"
    threads: int | None = Field(default=None, gt=0, le=MAX_THREADS)
    spinning: bool = False
    fallback: Literal["none", "cpu"] = "none"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        devices = _DEVICES[self.engine]
        if self.device not in devices:
            raise ValueError(f"device: expected {devices[0]} for engine {self.engine}, got {self.device}")
        if self.provider != "cuda" and (self.engine, self.device) != ("onnxruntime", "cuda"):
            raise ValueError(
                f"provider: {self.provider} is for engine onnxruntime on device cuda, "
                f"got engine {self.engine} on device {self.device}"
            )
        # A CPU without half-precision units would be slower, and OpenVINO's own switch for float16 also rounds
        # coordinates: beyond 1024 px to whole pixels.
        if self.precision == "fp16" and self.device != "cuda":
            raise ValueError(f"precision: expected fp32 on device {self.device}, got fp16; half precision needs cuda")
        if self.precision == "bf16" and self.engine != "openvino":
            raise ValueError(f"precision: expected fp32 for engine {self.engine}, got bf16; bf16 needs engine openvino")
        if self.precision == "int8" and not (self.engine in INT8_ENGINES and self.device == "cpu"):
            raise ValueError(
                f"precision: expected fp32 for engine {self.engine} on device {self.device}, got int8; int8 needs "
                f"engine onnxruntime or openvino on device cpu"
            )
        if self.precision == "auto" and self.device != "cpu":
            raise ValueError(f"precision: expected fp32 or fp16 on device {self.device}, got auto; auto needs cpu")
        return self

    @property
    def title(self) -> str:
        """Engine or provider, device and precision in a few words: `onnxruntime (tensorrt) on cuda, fp16`."""
        provider = " (tensorrt)" if self.provider == "tensorrt" else ""
        return f"{self.engine}{provider} on {self.device}, {self.precision}"
