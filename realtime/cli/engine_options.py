"""Options of every command that runs a model."""

from typing import Annotated

import typer

from models.engines.options import MAX_THREADS, Device, EngineName, PrecisionChoice, Provider

Engine = Annotated[EngineName, typer.Option("--engine", help="What runs the model.")]
OnDevice = Annotated[Device, typer.Option("--device", help="Where it runs.")]
WithProvider = Annotated[Provider, typer.Option("--provider", help="ONNX Runtime's, on cuda.")]
InPrecision = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision", help="fp16 needs cuda, bf16 openvino, int8 a quantised model; auto: the fastest that there is."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, max=MAX_THREADS, help="Threads of the model on the CPU; by default one for every core."
    ),
]
