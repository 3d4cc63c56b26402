"""How fast a model could be here: its operations counted, against the measured peak for the same kind of work.

Counted for one frame, from the ONNX graphs: multiply-accumulates (MACs) of the convolutions and matrix products; the
bytes that have to be moved at least (image, weights, outputs), and those that are moved if every operator is run for
itself. Measured in the same process, engine, precision and number of threads: the graphs; the peak, a stack of wide
convolutions (64 channels, 3 × 3, 64 × 64 px), which engines are best at; and how fast memory is copied.

The floor is the larger of MACs / peak and least bytes / bandwidth, both from the fastest run, so that other programs do
not raise it. No network of narrow layers reaches it: a layer of 16 channels fills a vector unit badly, and small layers
are over before their start has paid off.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnx

from benchmarks.circumstances import circumstances
from benchmarks.json_file import add_json_option, write_json
from benchmarks.operations import Cost, cost_of
from benchmarks.percentiles import percentiles_ms, table
from models.engines.options import EngineOptions
from models.engines.registry import open_engine
from models.errors import ModelError
from models.exported import model_folder
from models.spec import ModelSpec

N_CHANNELS = 64
SIDE_PX = 64
N_LAYERS = 4
OPSET = 17
PEAK = "peak"
_COPY_BYTES = 64 << 20


def wide_convolutions() -> bytes:
    """Return the graph whose speed is the peak: image → 64 channels → four times 64 channels → one number each."""
    random = np.random.default_rng(0)
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Unsqueeze", ["float", "axis"], ["layer0"]),
    ]
    weights = [onnx.numpy_helper.from_array(np.array([1], np.int64), "axis")]
    for k in range(N_LAYERS + 1):
        n_in = N_CHANNELS if k else 1
        kernel = random.normal(0.0, np.sqrt(1 / (9 * n_in)), (N_CHANNELS, n_in, 3, 3)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(kernel, f"kernel{k}"))
        nodes.append(onnx.helper.make_node("Conv", [f"layer{k}", f"kernel{k}"], [f"layer{k + 1}"], pads=[1, 1, 1, 1]))
    nodes.append(onnx.helper.make_node("ReduceMax", [f"layer{N_LAYERS + 1}"], ["most"], axes=[2, 3], keepdims=0))
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["batch", SIDE_PX, SIDE_PX])
    most = onnx.helper.make_tensor_value_info("most", onnx.TensorProto.FLOAT, ["batch", N_CHANNELS])
    graph = onnx.helper.make_graph(nodes, "wide_convolutions", [image], [most], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())


def copy_times_ns(n: int) -> list[int]:
    """Return how long it takes to copy 64 MB, which is as much read and as much written, in one thread."""
    source, target = np.ones(_COPY_BYTES, np.uint8), np.ones(_COPY_BYTES, np.uint8)
    times = []
    for _ in range(n):
        begin_ns = perf_counter_ns()
        np.copyto(target, source)
        times.append(perf_counter_ns() - begin_ns)
    return times


def run_times_ns(graph: bytes, path: Path, cost: Cost, batch: int, options: EngineOptions, n: int) -> list[int]:
    """Return how long `n` runs took, after the engine's own warm-up and as many as a tenth that do not count.

    Raises:
        ModelError: The engine is not there, or cannot run the graph.
    """
    model = onnx.load_from_string(graph)
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    images = np.random.default_rng(0).integers(0, 256, (4, batch, *shape), dtype=np.uint8)
    outputs = {name: np.zeros(value.shape, value.dtype) for name, value in cost.outputs.items()}
    times = []
    with closing(open_engine(graph, path, options)) as engine:
        bound = engine.bind((batch, *shape), outputs)
        for k in range(n // 10 + n):
            begin_ns = perf_counter_ns()
            bound.run(images[k % len(images)])
            times.append(perf_counter_ns() - begin_ns)
    return times[n // 10 :]


def measure(model: Path, engines: Sequence[EngineOptions], n: int) -> dict[str, Any]:
    """Count and measure a top-down model.

    Args:
        model: Its folder, or `zoo:NAME`.
        engines: On which engines.
        n: Runs a row.

    Returns:
        JSON-able.

    Raises:
        ModelError: There is no such model, or an engine cannot run it.
        ValueError: The model is not made of a detector and crops.
    """
    where = circumstances()
    folder = model_folder(model)
    graphs = _graphs(folder)
    costs = {name: cost_of(graph, batch) for name, (graph, batch) in graphs.items()}
    copies = copy_times_ns(max(n // 10, 10))
    bytes_per_ms = 2 * _COPY_BYTES / (min(copies) / 1e6)
    rows = {"copy of 64 MB": percentiles_ms(copies)}
    floors: list[dict[str, Any]] = []
    for options in engines:
        title = f"{options.title}, {options.threads or 'all'} thread{'' if options.threads == 1 else 's'}"
        times = {
            name: run_times_ns(graph, folder / name, costs[name], batch, options, n)
            for name, (graph, batch) in graphs.items()
        }
        rows |= {f"{name}: {title}": percentiles_ms(taken) for name, taken in times.items()}
        peak = costs[PEAK].macs / (min(times[PEAK]) / 1e6)
        floors += [_floor(name, title, costs[name], taken, peak, bytes_per_ms) for name, taken in times.items()]
    return {
        "benchmark": "floor",
        "unit": "ms",
        "settings": {"model": str(model), "n": n},
        "stamps": "image in memory → outputs in memory",
        "not_included": ["camera", "decoding of the outputs", "tracking"],
        "n_warm_up": n // 10,
        "counts": {name: _counts(cost) for name, cost in costs.items()},
        "copy_gb_per_s": bytes_per_ms / 1e6,
        "latency_ms": rows,
        "floors": floors,
        **where,
    }


def _graphs(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the graphs of a model by name, each with its batch, and the one for the peak."""
    spec = ModelSpec.load(folder)
    if spec.parts is None:
        raise ValueError(f"{folder.name}: expected a top-down model with its parts, detector and crops, got none")
    crops = f"crops of {spec.max_instances} animals"
    return {
        PEAK: (wide_convolutions(), 1),
        "whole model": ((folder / spec.graph.file).read_bytes(), 1),
        "detector": ((folder / spec.parts.detector.file).read_bytes(), 1),
        crops: ((folder / spec.parts.crops.file).read_bytes(), spec.max_instances),
    }


def _counts(cost: Cost) -> dict[str, Any]:
    convolutions = [operator for operator in cost.operators if operator.kind in ("Conv", "MatMul")]
    return {
        "macs": cost.macs,
        "weight_bytes": cost.weight_bytes,
        "least_bytes": cost.least_bytes,
        "unfused_bytes": cost.unfused_bytes,
        "n_operators": len(cost.operators),
        "convolutions": [
            {
                "name": operator.name,
                "macs": operator.macs,
                "read_bytes": operator.read_bytes,
                "written_bytes": operator.written_bytes,
            }
            for operator in convolutions
        ],
    }


def _floor(
    name: str, engine: str, cost: Cost, times_ns: Sequence[int], peak_macs_per_ms: float, bytes_per_ms: float
) -> dict[str, Any]:
    compute_ms, memory_ms = cost.macs / peak_macs_per_ms, cost.least_bytes / bytes_per_ms
    floor_ms, fastest_ms, p50_ms = max(compute_ms, memory_ms), min(times_ns) / 1e6, float(np.median(times_ns)) / 1e6
    return {
        "graph": name,
        "engine": engine,
        "compute_ms": compute_ms,
        "memory_ms": memory_ms,
        "unfused_ms": cost.unfused_bytes / bytes_per_ms,
        "floor_ms": floor_ms,
        "fastest_ms": fastest_ms,
        "p50_ms": p50_ms,
        "times_floor": fastest_ms / floor_ms,
        "gmacs_per_s": cost.macs / fastest_ms / 1e6,
    }


def as_text(result: dict[str, Any]) -> str:
    """Return a result as tables with its circumstances."""
    lines = [f"{'a frame':<24}{'MMAC':>10}{'weights, kB':>14}{'least, MB':>12}{'unfused, MB':>13}{'operators':>11}"]
    for name, counts in result["counts"].items():
        sizes = f"{counts['weight_bytes'] / 1e3:>14.1f}{counts['least_bytes'] / 1e6:>12.2f}"
        more = f"{counts['unfused_bytes'] / 1e6:>13.1f}{counts['n_operators']:>11}"
        lines.append(f"{name:<24}{counts['macs'] / 1e6:>10.1f}{sizes}{more}")
    lines += [
        "",
        table(result["latency_ms"]),
        "",
        f"memory copied at {result['copy_gb_per_s']:.1f} GB/s (read + written)",
    ]
    width = max(len(f"{each['graph']}: {each['engine']}") for each in result["floors"])
    lines.append(f"{'ms':<{width}}{'floor':>9}{'fastest':>9}{'times':>7}{'p50':>9}{'GMAC/s':>9}{'unfused':>9}")
    for each in result["floors"]:
        numbers = f"{each['floor_ms']:>9.3f}{each['fastest_ms']:>9.3f}{each['times_floor']:>7.1f}{each['p50_ms']:>9.3f}"
        more = f"{each['gmacs_per_s']:>9.1f}{each['unfused_ms']:>9.3f}"
        lines.append(f"{each['graph'] + ': ' + each['engine']:<{width}}{numbers}{more}")
    machine = result["machine"]
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, load {result['load_average'][0]:.1f}")
    return "\n".join(lines)


def chosen(names: Sequence[str], threads: Sequence[int]) -> list[EngineOptions]:
    """Return engines by `ENGINE` or `ENGINE:PRECISION`, each with each number of threads.

    Raises:
        ValueError: There is no such engine or precision, or it takes other graphs than those that are counted.
    """
    found = []
    for name in names:
        engine, _, precision = name.partition(":")
        if precision in ("int8", "auto"):
            raise ValueError(f"{name}: expected a precision that runs the graph in float32, got {precision}")
        fields = {"engine": engine, "precision": precision or "fp32"}
        found += [EngineOptions.model_validate({**fields, "threads": n}) for n in threads]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("zoo:fly_pair"), help="top-down (default: %(default)s)")
    parser.add_argument(
        "--engines",
        nargs="+",
        default=["onnxruntime", "openvino", "openvino:bf16"],
        metavar="NAME",
        help="ENGINE or ENGINE:PRECISION (default: onnxruntime openvino openvino:bf16)",
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N", help="default: 1")
    parser.add_argument("-n", type=int, default=300, help="runs a row (default: %(default)s)")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    if given.n < 1:
        parser.error("expected -n of at least 1")
    try:
        result = measure(given.model, chosen(given.engines, given.threads), given.n)
    except (ModelError, ValueError) as error:
        print(f"floor: {error}", file=sys.stderr)
        return 2
    print(as_text(result))
    write_json(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
