"""Two networks into the model folder of a top-down model.

`export_top_down` is what training and importing call.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from models.errors import ModelInputError
from models.export.builder import GraphBuilder
from models.export.graph import add_network, input_channels, max_stride, output_channels, output_stride
from models.export.images import (
    add_channels_first,
    add_exact_crops,
    add_network_input,
    add_resize,
    add_scaled_image,
    add_sleap_crops,
    scaled_size,
)
from models.export.peaks import Maps, add_global_peaks, add_local_peaks
from models.network import Network
from models.skeleton import Skeleton
from models.spec import (
    DetectorSpec,
    Geometry,
    GraphFile,
    GraphRole,
    ImageSpec,
    InstanceSpec,
    ModelSpec,
    SkeletonSpec,
    listed_faults,
    sha256_of,
)


def export_top_down(
    detector: Network,
    instances: Network,
    out: Path,
    *,
    skeleton: Skeleton,
    image_shape: Sequence[int],
    crop_size_px: int,
    detector_scale: float = 1.0,
    instance_scale: float = 1.0,
    pad_to_stride: int | None = None,
    anchor: str | None = None,
    peak_threshold: float = 0.2,
    max_instances: int = 2,
    geometry: Geometry = "exact",
    provenance: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Write `detector.onnx`, `instances.onnx` and `model.json` into the folder `out`.

    Args:
        detector: Finds the animals: image → 1 confidence map, optionally a second output with 2 offset maps.
        instances: Finds the nodes: crop → one confidence map a node, optionally a second output with 2 offset maps a
            node (x and y interleaved, cells).
        out: The folder; created if missing, files in it are replaced.
        skeleton: The animal's plan; its nodes are the channels of `instances`.
        image_shape: `(height, width)` or `(height, width, 3)` of the camera's image, px.
        crop_size_px: Side of the square crop around each animal, px of the full frame.
        detector_scale: Size of the detector's input over size of the image.
        instance_scale: Size of the instance network's input over size of the crop.
        pad_to_stride: The scaled image is padded to a multiple of this; None = what the detector needs.
        anchor: The node that the detector was trained to point at; None = the middle of the bounding box.
        peak_threshold: A confidence below this is not a detection.
        max_instances: Number of slots.
        geometry: See `ModelSpec`.
        provenance: Where the weights come from, as JSON-able values.

    Returns:
        What was written to `model.json`.

    Raises:
        ModelInputError: The networks do not fit each other or the options.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    try:
        image = ImageSpec(height_px=image_shape[0], width_px=image_shape[1], channels=3 if len(image_shape) == 3 else 1)
        detector_spec = DetectorSpec(
            input_scale=detector_scale,
            output_stride=output_stride(detector, detector.outputs[0]),
            pad_to_stride=pad_to_stride or max_stride(detector),
        )
        instance_spec = InstanceSpec(
            crop_size_px=crop_size_px,
            input_scale=instance_scale,
            output_stride=output_stride(instances, instances.outputs[0]),
        )
    except ValidationError as error:
        raise ModelInputError(listed_faults("export", error)) from error
    plan = TopDown(
        detector=detector,
        instances=instances,
        image=image,
        detector_spec=detector_spec,
        instance_spec=instance_spec,
        n_nodes=len(skeleton.nodes),
        peak_threshold=peak_threshold,
        max_instances=max_instances,
        geometry=geometry,
    )
    plan.check()
    spec = ModelSpec(
        type="top_down",
        skeleton=SkeletonSpec(nodes=skeleton.nodes, edges=skeleton.edges, symmetries=skeleton.symmetries),
        image=image,
        detector=plan.detector_spec,
        instance=plan.instance_spec,
        anchor=anchor,
        peak_threshold=peak_threshold,
        max_instances=max_instances,
        geometry=geometry,
        graphs=_write_graphs(plan, out),
        provenance=dict(provenance or {}),
    )
    spec.save(out)
    return spec


def _write_graphs(plan: "TopDown", out: Path) -> dict[GraphRole, GraphFile]:
    out.mkdir(parents=True, exist_ok=True)
    graphs: dict[GraphRole, GraphFile] = {}
    models: dict[GraphRole, Any] = {"detector": plan.detector_graph(), "instances": plan.instances_graph()}
    for role, model in models.items():
        path = out / f"{role}.onnx"
        path.write_bytes(model.SerializeToString())
        graphs[role] = GraphFile(file=path.name, sha256=sha256_of(path))
    return graphs


@dataclass(frozen=True, slots=True)
class TopDown:
    """The two graphs of a top-down model."""

    detector: Network
    instances: Network
    image: ImageSpec
    detector_spec: DetectorSpec
    instance_spec: InstanceSpec
    n_nodes: int
    peak_threshold: float
    max_instances: int
    geometry: Geometry

    def check(self) -> None:
        """Raise ModelInputError if networks and options do not fit."""
        for role, network, n_maps in (("detector", self.detector, 1), ("instances", self.instances, self.n_nodes)):
            if input_channels(network) not in (1, 3):
                raise ModelInputError(f"{role}: expected 1 or 3 input channels, got {input_channels(network)}")
            channels = [output_channels(network, name) for name in network.outputs]
            if channels not in ([n_maps], [n_maps, 2 * n_maps]):
                raise ModelInputError(
                    f"{role}: expected {n_maps} confidence maps and at most {2 * n_maps} offset maps, "
                    f"got outputs with {' and '.join(map(str, channels))} channels"
                )
        if self.detector_spec.pad_to_stride % max_stride(self.detector):
            raise ModelInputError(
                f"detector: expected pad_to_stride to be a multiple of {max_stride(self.detector)}, "
                f"got {self.detector_spec.pad_to_stride}"
            )
        n_cells = math.prod(self._detector_size()) // self.detector_spec.output_stride**2
        if self.max_instances > n_cells:
            raise ModelInputError(
                f"max_instances: expected at most the map's {n_cells} cells, got {self.max_instances}"
            )

    def detector_graph(self) -> Any:
        """Image → `centroids (K, 2)` px, NaN in empty slots; `centroid_scores (K,)`; `valid (K,)`."""
        graph = GraphBuilder("detector")
        image = graph.input("image", np.uint8, self.image.shape)
        shape = self.image.shape
        scale, stride = self.detector_spec.input_scale, self.detector_spec.output_stride
        pixels = add_scaled_image(graph, image, shape, scale, input_channels(self.detector), self.geometry)
        pixels, padded = add_network_input(graph, pixels, self._detector_size(), self.detector_spec.pad_to_stride)
        maps = _maps(graph, self.detector, pixels, padded, stride)
        peaks, scores, valid = add_local_peaks(graph, maps, self.peak_threshold, self.max_instances, self.geometry)
        centroids = self._to_full_size(graph, graph.op("Mul", peaks, graph.float32(stride)), scale)
        graph.output(centroids, "centroids", np.float32, (self.max_instances, 2))
        graph.output(scores, "centroid_scores", np.float32, (self.max_instances,))
        graph.output(valid, "valid", np.bool_, (self.max_instances,))
        return graph.build()

    def _detector_size(self) -> tuple[int, int]:
        scale = self.detector_spec.input_scale
        return scaled_size(self.image.height_px, scale), scaled_size(self.image.width_px, scale)

    def instances_graph(self) -> Any:
        """Image and `centroids (n, 2)` px → `peaks (n, nodes, 2)` px, NaN = not seen; `peak_values (n, nodes)`."""
        graph = GraphBuilder("instances")
        image = graph.input("image", np.uint8, self.image.shape)
        centroids = graph.input("centroids", np.float32, ("n", 2))
        stride, scale = self.instance_spec.output_stride, self.instance_spec.input_scale
        crops = self._exact_crops if self.geometry == "exact" else self._sleap_crops
        pixels, corners = crops(graph, image, centroids)
        side = scaled_size(self.instance_spec.crop_size_px, scale)
        pixels, padded = add_network_input(graph, pixels, (side, side), max_stride(self.instances))
        maps = _maps(graph, self.instances, pixels, padded, stride)
        cells, values = add_global_peaks(graph, maps, self.peak_threshold, self.geometry)
        inside = self._to_full_size(graph, graph.op("Mul", cells, graph.float32(stride)), scale)
        peaks = graph.op("Add", inside, graph.op("Unsqueeze", corners, graph.int64([1])))
        graph.output(peaks, "peaks", np.float32, ("n", self.n_nodes, 2))
        graph.output(values, "peak_values", np.float32, ("n", self.n_nodes))
        return graph.build()

    def _exact_crops(self, graph: GraphBuilder, image: str, centroids: str) -> tuple[str, str]:
        side, scale = self.instance_spec.crop_size_px, self.instance_spec.input_scale
        pixels, corners = add_exact_crops(graph, image, self.image.shape, centroids, side)
        pixels = self._channels_first(graph, pixels)
        return add_resize(graph, pixels, (side, side), (scale, scale), "exact"), corners

    def _sleap_crops(self, graph: GraphBuilder, image: str, centroids: str) -> tuple[str, str]:
        """Crop the scaled image, as SLEAP does; what is added back is centroid − side / 2, half a pixel too little."""
        scale, shape = self.instance_spec.input_scale, self.image.shape
        side = scaled_size(self.instance_spec.crop_size_px, scale)
        if scale != 1.0:
            resized = add_scaled_image(graph, image, shape, scale, self.image.channels, "sleap_compat")
            resized = graph.op("Floor", graph.op("Transpose", resized, perm=[0, 2, 3, 1]))
            shape = (scaled_size(shape[0], scale), scaled_size(shape[1], scale), *shape[2:])
            image = graph.reshape(resized, shape)
            centroids = graph.op("Mul", centroids, graph.float32(scale))
        pixels = add_sleap_crops(graph, image, shape, centroids, side)
        corners = graph.op("Sub", centroids, graph.float32(side / 2))
        if scale != 1.0:
            corners = graph.op("Div", corners, graph.float32(scale))
        return self._channels_first(graph, pixels), corners

    def _channels_first(self, graph: GraphBuilder, pixels: str) -> str:
        return add_channels_first(
            graph, pixels, color=self.image.channels == 3, channels=input_channels(self.instances)
        )

    def _to_full_size(self, graph: GraphBuilder, points: str, scale: float) -> str:
        """Trace points of a scaled image back to the unscaled one."""
        if scale == 1.0:
            return points
        if self.geometry == "sleap_compat":
            return graph.op("Add", graph.op("Div", points, graph.float32(scale)), graph.float32(0.5))
        # The inverse of a resize with half-pixel centres: (p + 0.5) / r − 0.5.
        return graph.op("Add", graph.op("Div", points, graph.float32(scale)), graph.float32(0.5 / scale - 0.5))


def _maps(graph: GraphBuilder, network: Network, pixels: str, size: tuple[int, int], stride: int) -> Maps:
    outputs = add_network(graph, network, pixels)
    values = [outputs[name] for name in network.outputs]
    return Maps(
        values=values[0],
        offsets=values[1] if len(values) == 2 else None,
        channels=output_channels(network, network.outputs[0]),
        height=size[0] // stride,
        width=size[1] // stride,
    )
