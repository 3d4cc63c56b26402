"""Image → poses, for every type of model on every engine that is there.

The stamps are taken right before and after `predict` (`predict_batch` for batches), image and poses in memory: copies
to a device and back, the graph and the decoding are included; camera, tracking and recording are not. The networks are
the fast ones of SLEAP's paper (a UNet of 16 filters, rate 1.5, strides 16 → 2; whole images at half size, crops of
160 px) with random weights: the graphs have fixed slots, so that the time does not depend on what is in the image.

`ratio` compares a frame's p50 with that of the reference: the top-down model for two animals at 1024×1024 px on ONNX
Runtime's CPU, measured in the same process before and after all others.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter_ns
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.json_file import add_json_option, write_json
from benchmarks.percentiles import PERCENTILES, percentiles_ms, table
from models.engines.options import EngineOptions
from models.engines.registry import ALL_OPTIONS, InstalledEngine, installed_engines
from models.errors import ModelError
from models.export.export import Crops, WholeImage, export_model
from models.exported import ExportedModel, ExportedOptions
from models.network import Network
from models.skeleton import Skeleton
from models.spec import TOP_DOWN, WITH_IDENTITY, ModelType
from models.training.networks import ClassHead, MapHead, unet
from realtime.machine import describe_machine

N_NODES = 13
CROP_PX = 160
INPUT_SCALE = 0.5
N_IMAGES = 8
_STRIDE = 2
_COARSE_STRIDE = 8
_CHAIN = tuple((k, k + 1) for k in range(N_NODES - 1))


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: a model for square images, and how many images at once."""

    type: ModelType
    size_px: int
    animals: int
    batch: int

    @property
    def title(self) -> str:
        """As a row of the table is called."""
        animals = "1 animal" if self.animals == 1 else f"{self.animals} animals"
        return f"{self.type} {self.size_px}², {animals}, batch {self.batch}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        warm_up: Runs left out at the start of every row, beside the engine's own.
        n: Runs that count.
        seconds: A row ends after this, even if they were fewer.
    """

    warm_up: int
    n: int
    seconds: float


REFERENCE = Setting("top_down", 1024, 2, 1)
CAREFUL = Effort(warm_up=20, n=1000, seconds=30.0)
QUICK = Effort(warm_up=2, n=10, seconds=2.0)


def all_settings(
    types: Sequence[ModelType], sizes_px: Sequence[int], animals: Sequence[int], batches: Sequence[int]
) -> list[Setting]:
    """Return every combination; in a single-instance model there is one animal, whatever is asked for."""
    every = itertools.product(types, sizes_px, animals, batches)
    return list(
        dict.fromkeys(
            Setting(model_type, size, 1 if model_type == "single_instance" else n, batch)
            for model_type, size, n, batch in every
        )
    )


def export_fast(folder: Path, setting: Setting) -> None:
    """Export the paper's fast networks, with random weights, as a model of the setting's type."""
    model_type, identity = setting.type, setting.type in WITH_IDENTITY
    nodes = 1 if model_type == "centroid" else N_NODES
    maps = [MapHead("confmaps", 1 if model_type in TOP_DOWN else nodes, _STRIDE)]
    if model_type == "bottom_up":
        maps.append(MapHead("pafs", 2 * len(_CHAIN), _COARSE_STRIDE))
    if model_type == "bottom_up_id":
        maps.append(MapHead("class_maps", setting.animals, _COARSE_STRIDE))
    crops = None
    if model_type in TOP_DOWN:
        classes = ClassHead(setting.animals, layers=3, units=256) if identity else None
        crops = Crops(_fast([MapHead("confmaps", nodes, _STRIDE)], classes), CROP_PX)
    export_model(
        folder,
        model_type,
        skeleton=Skeleton(tuple(f"node{k}" for k in range(nodes)), _CHAIN if nodes > 1 else ()),
        image_shape=(setting.size_px, setting.size_px),
        whole_image=WholeImage(_fast(maps), INPUT_SCALE),
        crops=crops,
        max_instances=setting.animals,
        class_names=tuple(f"animal{k}" for k in range(setting.animals)) if identity else (),
    )


def _fast(maps: Sequence[MapHead], classes: ClassHead | None = None) -> Network:
    """Return the paper's network with weights that keep the values' size (He's rule)."""
    network = unet(maps, classes, filters=16, filters_rate=1.5, max_stride=16)
    random = np.random.default_rng(0)
    channels: dict[str, int] = {}
    weights: dict[str, NDArray[np.float32]] = {}
    for layer in network.layers:
        n_in = sum(channels[name] for name in layer.inputs)
        channels[layer.name] = layer.channels or n_in
        if layer.op in ("conv", "dense"):
            side = (layer.kernel, layer.kernel) if layer.op == "conv" else ()
            shape = (*side, n_in, layer.channels)
            spread = np.sqrt(2.0 / np.prod(shape[:-1]))
            weights[f"{layer.name}/kernel"] = random.normal(0.0, spread, shape).astype(np.float32)
            weights[f"{layer.name}/bias"] = np.zeros(layer.channels, np.float32)
    return Network(network.layers, network.outputs, weights)


def times_ns(folder: Path, options: EngineOptions, setting: Setting, effort: Effort) -> tuple[list[int], str]:
    """Return how long each run took, and the engine's description.

    Raises:
        ModelError: The engine cannot run the model.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (N_IMAGES, setting.batch, setting.size_px, setting.size_px), dtype=np.uint8)
    times: list[int] = []
    with closing(ExportedModel(ExportedOptions(path=folder, **options.model_dump()))) as model:
        end = monotonic() + effort.seconds
        for k, batch in enumerate(itertools.cycle(images)):
            start_ns = perf_counter_ns()
            if setting.batch == 1:
                model.predict(batch[0], k)
            else:
                model.predict_batch(batch)
            took_ns = perf_counter_ns() - start_ns
            if k >= effort.warm_up:
                times.append(took_ns)
            if len(times) >= effort.n or (times and monotonic() > end):
                break
        return times, str(model.source["engine"])


def measure(settings: Sequence[Setting], engines: Sequence[InstalledEngine], effort: Effort) -> dict[str, Any]:
    """Measure every setting on every engine that works.

    Returns:
        JSON-able: the rows, what was skipped and why, and what it was measured on.
    """
    rows: list[dict[str, Any]] = []
    skipped = [{"engine": engine.options.title, "reason": engine.text} for engine in engines if not engine.works]
    working = [engine.options for engine in engines if engine.works]
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference"
        export_fast(reference, REFERENCE)
        before, _ = times_ns(reference, EngineOptions(), REFERENCE, effort)
        for setting, options, model in _every(settings, working, Path(folder)):
            try:
                times, description = times_ns(model, options, setting, effort)
            except ModelError as error:
                skipped.append({"engine": f"{options.title}, {setting.title}", "reason": str(error)})
                continue
            rows.append(_row(setting, options, description, times))
        after, _ = times_ns(reference, EngineOptions(), REFERENCE, effort)
    reference_ms = float(np.mean([percentiles_ms(times)["p50"] for times in (before, after)]))
    for row in rows:
        row["ratio"] = row["latency_ms"]["p50"] / row["batch"] / reference_ms
    return {
        "benchmark": "model_latency",
        "unit": "ms",
        "stamps": "image in memory → poses in memory; a row with a batch gives the time of the whole batch",
        "not_included": ["camera", "tracking", "recording"],
        "n_warm_up": effort.warm_up,
        "reference": {
            "setting": REFERENCE.title,
            "before_ms": percentiles_ms(before),
            "after_ms": percentiles_ms(after),
        },
        "rows": rows,
        "skipped": skipped,
        "machine": describe_machine(),
    }


def _every(
    settings: Sequence[Setting], working: Sequence[EngineOptions], folder: Path
) -> Iterator[tuple[Setting, EngineOptions, Path]]:
    for number, setting in enumerate(settings):
        model = folder / str(number)
        export_fast(model, setting)
        for options in working:
            yield setting, options, model


def _row(setting: Setting, options: EngineOptions, description: str, times: Sequence[int]) -> dict[str, Any]:
    return {
        "title": setting.title,
        "type": setting.type,
        "size_px": setting.size_px,
        "animals": setting.animals,
        "batch": setting.batch,
        "engine": options.title,
        "description": description,
        "latency_ms": percentiles_ms(times),
    }


def as_text(result: Mapping[str, Any]) -> str:
    """Return a result as a table with its circumstances."""
    rows = {f"{row['title']}: {row['engine']}": {**row["latency_ms"], "ratio": row["ratio"]} for row in result["rows"]}
    for when in ("before", "after"):
        rows[f"reference, {when}"] = {**result["reference"][f"{when}_ms"], "ratio": 1.0}
    lines = [table(rows, (*PERCENTILES, "n", "ratio"))]
    lines += [f"skipped: {entry['engine']}: {entry['reason']}" for entry in result["skipped"]]
    machine = result["machine"]
    lines.append(f"{machine['cpu']}, {machine['cores']} cores; warm-up {result['n_warm_up']} runs a row, left out")
    return "\n".join(lines)


def chosen(wanted: Sequence[str]) -> list[EngineOptions]:
    """Return the engines whose titles begin with one of `wanted`, or all but TensorFlow, which is no engine for a rig.

    Raises:
        ValueError: None begins so.
    """
    if not wanted:
        return [options for options in ALL_OPTIONS if options.engine != "tensorflow"]
    for name in wanted:
        if not any(options.title.startswith(name) for options in ALL_OPTIONS):
            raise ValueError(f"expected one of {'; '.join(options.title for options in ALL_OPTIONS)}; got {name}")
    return [options for options in ALL_OPTIONS if options.title.startswith(tuple(wanted))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model_latency", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--types", nargs="+", choices=get_args(ModelType), default=get_args(ModelType), metavar="TYPE")
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024], metavar="PX", help="sides of the image")
    parser.add_argument("--animals", nargs="+", type=int, default=[2], metavar="N", help="slots for animals")
    parser.add_argument("--batches", nargs="+", type=int, default=[1], metavar="N", help="images at once")
    parser.add_argument("--engines", nargs="+", default=[], metavar="NAME", help="beginnings of engines' titles")
    parser.add_argument("--quick", action="store_true", help=f"only see that it runs: {QUICK.n} runs a row")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    try:
        engines = installed_engines(chosen(given.engines))
    except ValueError as error:
        parser.error(f"--engines: {error}")
    settings = all_settings(given.types, given.sizes, given.animals, given.batches)
    result = measure(settings, engines, QUICK if given.quick else CAREFUL)
    print(as_text(result))
    write_json(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
