"""The one graph of a model: the camera's images → networks → points in px of the full frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.export.builder import GraphBuilder
from models.export.fields import Field, Points, add_class_probs, add_edge_scores
from models.export.graph import add_network, input_channels, max_stride, output_channels, output_stride
from models.export.images import (
    Size,
    add_channels_first,
    add_exact_crops,
    add_network_input,
    add_resize,
    add_scaled_image,
    add_sleap_crops,
    scaled_size,
)
from models.export.peaks import Maps, add_global_peaks, add_local_peaks
from models.export.views import add_mean, add_mean_of_views, add_turned_views
from models.network import Head, Network
from models.spec import BOTTOM_UP, MARGIN_PX, ModelSpec, Output

BATCH = "batch"


def build_graph(spec: ModelSpec, whole_image: Network, crops: Network | None) -> Any:
    """Return the checked `onnx.ModelProto` of a model whose networks fit its spec.

    The operations of the networks have names that begin with `whole_image/` and `crops/`; whatever is computed in half
    precision is among them.
    """
    pipeline = _Pipeline(spec)
    heads = pipeline.whole_image_heads(whole_image)
    if crops is not None:
        found = pipeline.top_down(heads, crops)
    elif spec.type in BOTTOM_UP:
        found = pipeline.bottom_up(heads)
    elif spec.type == "centroid":
        found = pipeline.centroids(heads)
    else:
        found = pipeline.single_instance(heads)
    return pipeline.built(found, spec.outputs)


def build_detector(spec: ModelSpec, network: Network) -> Any:
    """Return the first half of a top-down model's graph as one of its own: images → anchors of the animals."""
    pipeline = _Pipeline(spec)
    return pipeline.built(pipeline.centroids(pipeline.whole_image_heads(network)), spec.detector_outputs)


def build_crops(spec: ModelSpec, network: Network) -> Any:
    """Return the second half of a top-down model's graph as one of its own: crops as `image` → nodes in them."""
    assert spec.crop is not None  # noqa: S101  # the type has one
    pipeline = _Pipeline(spec, (spec.crop.cut_px, spec.crop.cut_px, *spec.image.shape[2:]))
    return pipeline.built(pipeline.nodes_in_crops(network), spec.crop_outputs)


@dataclass(frozen=True, slots=True)
class _Heads:
    """The outputs of a network in a graph: head → value, for an input of `size` (height, width)."""

    network: Network
    values: Mapping[str, str]
    size: Size

    def stride(self, head: Head = "confmaps") -> int:
        return output_stride(self.network, self.network.outputs[head])

    def field(self, head: Head) -> Field:
        channels, stride = output_channels(self.network, self.network.outputs[head]), self.stride(head)
        return Field(self.values[head], (channels, self.size[0] // stride, self.size[1] // stride), stride)

    def maps(self) -> Maps:
        confmaps = self.field("confmaps")
        return Maps(confmaps.values, self.values.get("offsets"), *confmaps.shape)


class _Pipeline:
    """A graph that is being written; every method but the first returns the graph's outputs by their names."""

    def __init__(self, spec: ModelSpec, shape: Sequence[int] = ()) -> None:
        self.spec = spec
        self.graph = GraphBuilder(spec.type)
        self._images = self.graph.input("image", np.uint8, (BATCH, *(shape or spec.image.shape)))
        self._threshold = spec.peak_threshold

    def built(self, found: Mapping[str, str], outputs: Mapping[str, Output]) -> Any:
        """Return the checked `onnx.ModelProto` that gives these outputs."""
        for name, (shape, dtype) in outputs.items():
            self.graph.output(found[name], name, dtype, (BATCH, *shape))
        return self.graph.build()

    def whole_image_heads(self, network: Network) -> _Heads:
        """Run a network on the scaled, padded images."""
        graph, image, part = self.graph, self.spec.image, self.spec.whole_image
        size = (scaled_size(image.height_px, part.input_scale), scaled_size(image.width_px, part.input_scale))
        channels, geometry = input_channels(network), self.spec.geometry
        pixels = add_scaled_image(graph, self._images, image.shape, part.input_scale, channels, geometry)
        return self._heads("whole_image", network, pixels, size, part.pad_to_stride)

    def single_instance(self, heads: _Heads) -> dict[str, str]:
        """The highest cell of every map is a node of the only animal."""
        graph = self.graph
        cells, values = add_global_peaks(graph, heads.maps(), self._threshold, self.spec.geometry)
        # A value that is not a number counts: whoever reads the points reports it.
        counts = graph.op("Not", graph.op("Less", values, graph.float32(self._threshold)))
        valid = graph.op("Greater", graph.op("ReduceMax", graph.cast(counts, np.float32), axes=[1]), graph.float32(0.0))
        mean = graph.op("ReduceMean", values, axes=[1])
        never = graph.op("And", graph.squeeze(valid, 1), graph.constant(False, np.bool_))
        return {
            "xy": graph.unsqueeze(self._full_frame_px(cells, heads.stride(), self.spec.whole_image.input_scale), 1),
            "node_scores": graph.unsqueeze(values, 1),
            "instance_scores": graph.op("Where", valid, mean, graph.float32(0.0)),
            "valid": valid,
            "overflow": never,
        }

    def centroids(self, heads: _Heads) -> dict[str, str]:
        """The highest local maxima are the animals."""
        graph = self.graph
        found = add_local_peaks(graph, heads.maps(), self._threshold, self.spec.max_instances, self.spec.geometry)
        centroids = self._full_frame_px(found.cells, heads.stride(), self.spec.whole_image.input_scale)
        scores = graph.squeeze(found.values, 1)
        return {
            "xy": graph.op("Transpose", centroids, perm=[0, 2, 1, 3]),
            "node_scores": graph.unsqueeze(scores, 2),
            "instance_scores": scores,
            "valid": graph.squeeze(found.valid, 1),
            "overflow": found.overflow,
        }

    def top_down(self, heads: _Heads, network: Network) -> dict[str, str]:
        """The highest local maxima are the animals; the highest cells of the crops around them are their nodes."""
        graph, spec = self.graph, self.spec
        found = self.centroids(heads)
        centroids, valid = graph.squeeze(found["xy"], 2), found["valid"]
        possible = graph.op("And", valid, self._inside_image(centroids))
        shown = graph.unsqueeze(possible, 2)
        # NaN has no place to crop at; what is found in the crops of empty slots is not shown.
        centres = graph.op("Where", shown, centroids, graph.float32(0.0))
        crops, corners = self._crop_heads(network, centres)
        inside = self._nodes(crops)
        slots, n_nodes = spec.max_instances, len(spec.skeleton.nodes)
        points = graph.op("Add", graph.reshape(inside["xy"], (-1, slots, n_nodes, 2)), graph.unsqueeze(corners, 2))
        outputs = found | {
            "xy": graph.op("Where", graph.unsqueeze(shown, 3), points, graph.float32(np.nan)),
            "node_scores": self._in_slots(inside["node_scores"], n_nodes, shown),
            "instance_scores": graph.op(
                "Where", graph.op("Xor", valid, possible), graph.float32(np.nan), found["instance_scores"]
            ),
        }
        if "class_probs" in inside:
            outputs["class_probs"] = self._in_slots(inside["class_probs"], len(spec.class_names), shown)
        return outputs

    def nodes_in_crops(self, network: Network) -> dict[str, str]:
        """The images are squares cut around animals: the highest cells of their maps are the nodes, in px of them."""
        assert self.spec.crop is not None  # noqa: S101  # the type has one
        side = scaled_size(self.spec.crop.size_px, self.spec.crop.input_scale)
        pixels = self._views(self.graph.cast(self._images, np.float32), input_channels(network))
        return self._nodes(self._heads("crops", network, pixels, (side, side), max_stride(network)))

    def bottom_up(self, heads: _Heads) -> dict[str, str]:
        """The highest local maxima are the nodes' candidates; what joins them is read at them and between them."""
        graph, spec = self.graph, self.spec
        assert spec.peaks is not None  # noqa: S101  # the type has it
        maps, n_peaks = heads.maps(), spec.peaks.max_peaks
        found = add_local_peaks(graph, maps, self._threshold, n_peaks, spec.geometry)
        scaled = graph.op("Mul", found.cells, graph.float32(heads.stride()))
        points = Points(scaled, found.valid, maps.channels, n_peaks)
        outputs = {
            "peaks": self._full_frame_px(found.cells, heads.stride(), spec.whole_image.input_scale),
            "peak_scores": found.values,
            "peak_valid": found.valid,
            "overflow": found.overflow,
        }
        if spec.type == "bottom_up":
            edges = spec.skeleton.edges
            outputs["edge_scores"] = add_edge_scores(graph, heads.field("pafs"), points, edges, spec.geometry)
        else:
            outputs["class_probs"] = add_class_probs(graph, heads.field("class_maps"), points)
        return outputs

    def _heads(self, scope: str, network: Network, pixels: str, size: Size, pad_to_stride: int) -> _Heads:
        pixels, padded = add_network_input(self.graph, pixels, size, pad_to_stride)
        with self.graph.scope(scope):
            return _Heads(network, add_network(self.graph, network, pixels), padded)

    def _nodes(self, heads: _Heads) -> dict[str, str]:
        """Return what is in each square that was cut: the nodes in px of it, their scores, the identities' ones."""
        graph, spec, crop = self.graph, self.spec, self.spec.crop
        assert crop is not None  # noqa: S101  # the type has one
        cells, values = add_global_peaks(graph, heads.maps(), self._threshold, spec.geometry)
        points = self._full_frame_px(cells, heads.stride(), crop.input_scale)
        points, scores = add_mean_of_views(graph, points, values, len(spec.skeleton.nodes), crop, self._threshold)
        found = {"xy": points, "node_scores": scores}
        if "class_vectors" in heads.values:
            found["class_probs"] = add_mean(graph, heads.values["class_vectors"], len(spec.class_names), crop)
        return found

    def _crop_heads(self, network: Network, centroids: str) -> tuple[_Heads, str]:
        """Run a network on the crops around `(batch, slots, 2)` centroids; return where the crops begin, too."""
        assert self.spec.crop is not None  # noqa: S101  # the type has one
        cut = self._exact_crops if self.spec.geometry == "exact" else self._sleap_crops
        pixels, corners = cut(centroids, input_channels(network))
        side = scaled_size(self.spec.crop.size_px, self.spec.crop.input_scale)
        return self._heads("crops", network, pixels, (side, side), max_stride(network)), corners

    def _exact_crops(self, centroids: str, channels: int) -> tuple[str, str]:
        assert self.spec.crop is not None  # noqa: S101  # the type has one
        shape, side = self.spec.image.shape, self.spec.crop.cut_px
        squares, corners = add_exact_crops(self.graph, self._images, shape, centroids, side)
        return self._views(squares, channels), corners

    def _views(self, squares: str, channels: int) -> str:
        """Bring float32 squares that were cut from images to the scaled pixels that the network sees of them."""
        graph, crop, color = self.graph, self.spec.crop, self.spec.image.channels == 3
        assert crop is not None  # noqa: S101  # the type has one
        pixels = add_turned_views(graph, squares, crop, color=color)
        pixels = add_channels_first(graph, pixels, color=color, channels=channels)
        return add_resize(graph, pixels, (crop.size_px, crop.size_px), (crop.input_scale, crop.input_scale), "exact")

    def _sleap_crops(self, centroids: str, channels: int) -> tuple[str, str]:
        """Crop the scaled image, as SLEAP does; what is added back is centroid − side / 2, half a pixel too little."""
        graph, images, shape = self.graph, self._images, self.spec.image.shape
        assert self.spec.crop is not None  # noqa: S101  # the type has one
        scale = self.spec.crop.input_scale
        side = scaled_size(self.spec.crop.size_px, scale)
        if scale != 1.0:
            resized = add_scaled_image(graph, images, shape, scale, self.spec.image.channels, "sleap_compat")
            resized = graph.op("Floor", graph.op("Transpose", resized, perm=[0, 2, 3, 1]))
            shape = (scaled_size(shape[0], scale), scaled_size(shape[1], scale), *shape[2:])
            images = graph.reshape(resized, (-1, *shape))
            centroids = graph.op("Mul", centroids, graph.float32(scale))
        pixels = add_sleap_crops(graph, images, shape, centroids, side)
        corners = graph.op("Sub", centroids, graph.float32(side / 2))
        if scale != 1.0:
            corners = graph.op("Div", corners, graph.float32(scale))
        return add_channels_first(graph, pixels, color=len(shape) == 3, channels=channels), corners

    def _in_slots(self, values: str, n: int, shown: str) -> str:
        """Bring `(batch · slots, n)` to `(batch, slots, n)`, 0 where nothing is shown."""
        in_slots = self.graph.reshape(values, (-1, self.spec.max_instances, n))
        return self.graph.op("Where", shown, in_slots, self.graph.float32(0.0))

    def _inside_image(self, points: str) -> str:
        """Return for `(batch, n, 2)` points whether they can be in the image; NaN cannot."""
        graph, image = self.graph, self.spec.image
        middle = graph.float32([(image.width_px - 1) / 2, (image.height_px - 1) / 2])
        reach = graph.float32([(image.width_px - 1) / 2 + MARGIN_PX, (image.height_px - 1) / 2 + MARGIN_PX])
        inside = graph.op("LessOrEqual", graph.op("Abs", graph.op("Sub", points, middle)), reach)
        return graph.op("Greater", graph.op("ReduceMin", graph.cast(inside, np.float32), axes=[2], keepdims=0),
                        graph.float32(0.0))  # fmt: skip

    def _full_frame_px(self, cells: str, stride: int, scale: float) -> str:
        """Trace cells of a map back to px of the unscaled image."""
        graph = self.graph
        points = graph.op("Mul", cells, graph.float32(stride))
        if scale == 1.0:
            return points
        # The inverse of a resize with half-pixel centres is (p + 0.5) / r − 0.5; SLEAP's is right at r = 0.5 only.
        shift = 0.5 if self.spec.geometry == "sleap_compat" else 0.5 / scale - 0.5
        return graph.op("Add", graph.op("Div", points, graph.float32(scale)), graph.float32(shift))
