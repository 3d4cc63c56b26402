import numpy as np
import onnx
import pytest

from models.errors import ModelInputError, ModelNotOpenError
from models.export.export import Crops, WholeImage, export_model
from models.exported import ExportedModel, ExportedOptions
from models.network import Network
from models.skeleton import Skeleton
from models.spec import ModelSpec

SPOT = Skeleton(("spot",))
PAIR = Skeleton(("left", "right"), ((0, 1),))
TYPES = ["single_instance", "centroid", "top_down", "top_down_id", "bottom_up", "bottom_up_id"]
SCALES = [0.25, 0.5, 0.75, 1.0]
# Not a multiple of any cell below.
SHAPE = (143, 151)
PHASES = (np.arange(6) + 0.5) / 6
# A spot this wide is refined without error at every place within a cell, so that what is left is geometry.
SIGMA_CELLS = 0.75
SIDE_PX = 48
# Of two animals the first is the brighter: classes are told by brightness.
TOPS = (250.0, 110.0)
BRIGHT = ((40.0, -40.0), (-20.0, 20.0))


@pytest.fixture
def spot_model(tmp_path, copy_network):
    """A model of any type that finds Gaussian spots."""

    def make(kind, scale=1.0, stride=1, channels=1, *, geometry="exact", shape=SHAPE, views=1, **options):
        def network(n_maps=1, stride=stride, **heads):
            return copy_network(n_maps, channels, stride, **heads)

        skeleton, whole, crops = SPOT, WholeImage(network(), scale, 4), None
        if kind in ("top_down", "top_down_id"):
            heads = {"class_vectors": BRIGHT} if kind == "top_down_id" else {}
            whole = WholeImage(network(stride=1), pad_to_stride=4)
            crops = Crops(network(**heads), SIDE_PX, scale, views)
        elif kind == "bottom_up":
            # A field that points to the right everywhere.
            skeleton, whole = PAIR, WholeImage(network(2, pafs=((0.0, 0.0), (1.0, 0.0))), scale, 4)
        elif kind == "bottom_up_id":
            whole = WholeImage(network(class_maps=BRIGHT), scale, 4)
        if kind in ("top_down_id", "bottom_up_id"):
            options |= {"class_names": ("bright", "dim")}
        image_shape = shape if channels == 1 else (*shape, 3)
        export_model(
            tmp_path, kind, skeleton=skeleton, image_shape=image_shape, whole_image=whole, crops=crops,
            geometry=geometry, **options,
        )  # fmt: skip
        return ExportedModel(ExportedOptions(path=tmp_path, threads=1))

    return make


def scenes(kind, spots, cell_px, shape=SHAPE, channels=1):
    """Images, and where the animals are in them: `(n_images, n_animals, n_nodes, 2)`, at every part of a cell."""
    height, width = shape
    places = np.array([(0.3, 0.3), (0.7, 0.7)][: 1 if kind == "single_instance" else 2]) * (width, height)
    beside = np.stack(np.meshgrid(PHASES, PHASES), axis=-1).reshape(-1, 1, 2) * cell_px
    truth = (np.round(places) + beside)[:, :, np.newaxis]
    if kind == "bottom_up":
        half = np.array([round(0.13 * width), 0])
        truth = np.stack([truth[:, :, 0] - half, truth[:, :, 0] + half], axis=2)
    sigma_px = SIGMA_CELLS * cell_px
    images = np.array([
        np.max([spots(shape, nodes, sigma_px, top) for nodes, top in zip(animals, TOPS, strict=False)], axis=0)
        for animals in truth
    ])  # fmt: skip
    return images if channels == 1 else np.repeat(images[..., np.newaxis], 3, axis=3), truth


def median_error(poses, truth):
    """The median of found − true over all nodes, every animal compared with the nearest; and how many were found."""
    errors = []
    for found, animals in zip(poses, truth, strict=True):
        apart = found.xy.mean(axis=1)[:, np.newaxis] - animals.mean(axis=1)
        errors.append(found.xy - animals[np.linalg.norm(apart, axis=2).argmin(axis=1)])
    errors = np.concatenate(errors)
    return np.median(errors.reshape(-1, 2), axis=0), len(errors)


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
@pytest.mark.parametrize(("scale", "stride"), [*((scale, 1) for scale in SCALES), (1.0, 2), (0.5, 2)])
@pytest.mark.parametrize("kind", TYPES)
def test_points_have_no_bias(spot_model, spots, kind, scale, stride, channels):
    assert_no_bias(spot_model, spots, kind, scale, stride, channels)


@pytest.mark.parametrize(("scale", "stride"), [*((scale, 1) for scale in SCALES), (1.0, 2), (0.5, 2)])
@pytest.mark.parametrize("views", [2, 4, 8])
@pytest.mark.parametrize(("kind", "channels"), [("top_down", 1), ("top_down_id", 3)])
def test_points_of_turned_views_have_no_bias(spot_model, spots, kind, channels, views, scale, stride):
    assert_no_bias(spot_model, spots, kind, scale, stride, channels, views=views)


def assert_no_bias(spot_model, spots, kind, scale, stride, channels, **options):
    images, truth = scenes(kind, spots, stride / scale, channels=channels)
    poses = spot_model(kind, scale, stride, channels, **options).predict_batch(images)
    error, n = median_error(poses, truth)
    assert n == truth.shape[0] * truth.shape[1]
    assert np.abs(error).max() < 0.05
    if kind in ("top_down_id", "bottom_up_id"):
        for found in poses:
            left_first = np.argsort(found.xy[:, 0, 0])
            assert found.class_probs.argmax(axis=1)[left_first].tolist() == [0, 1]


# p / r + 0.5 instead of (p + 0.5) / r − 0.5, which is right at r = 0.5, and not applied at r = 1.
WHOLE_IMAGE_BIAS = {0.25: -1.0, 0.5: 0.0, 0.75: 1 / 3, 1.0: 0.0}
# The same, and the corner of the crop is half a pixel of the scaled image too far to the upper left.
CROP_BIAS = {0.25: -3.0, 0.5: -1.0, 0.75: -1 / 3, 1.0: -0.5}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", TYPES)
def test_sleap_geometry_has_sleaps_bias(spot_model, spots, kind, scale):
    shape = (144, 152)
    images, truth = scenes(kind, spots, 1 / scale, shape)
    poses = spot_model(kind, scale, geometry="sleap_compat", shape=shape).predict_batch(images)
    error, n = median_error(poses, truth)
    # SLEAP finds no local maximum where the image's whole levels make neighbouring cells equal.
    assert n >= 0.4 * truth.shape[0] * truth.shape[1]
    bias = (CROP_BIAS if kind.startswith("top_down") else WHOLE_IMAGE_BIAS)[scale]
    np.testing.assert_allclose(error, bias, atol=0.06)


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_an_animal_at_the_border_is_found_where_it_is(spot_model, spots, views):
    model = spot_model("top_down", shape=(60, 70), views=views)
    for point in [(0, 0), (69, 0), (0, 59), (69, 59), (35, 0)]:
        (animal,) = model.predict(spots((60, 70), [point], sigma_px=1.5), 0).xy
        # Half of the spot lies outside, which draws the refined point inwards.
        np.testing.assert_allclose(animal[0], point, atol=1.2)
    assert model.faults == 0


def test_colour_images_and_gray_networks(tmp_path, copy_network, spots):
    gray = spots((60, 70), [(30.3, 20.6)], sigma_px=1.0)
    export_model(
        tmp_path, "top_down", skeleton=SPOT, image_shape=(60, 70, 3), whole_image=WholeImage(copy_network()),
        crops=Crops(copy_network(channels=3), 32),
    )  # fmt: skip
    model = ExportedModel(ExportedOptions(path=tmp_path))
    poses = model.predict(np.repeat(gray[:, :, np.newaxis], 3, axis=2), 0)
    np.testing.assert_allclose(poses.xy[0, 0], (30.3, 20.6), atol=0.05)


def test_offsets_replace_the_refinement(tmp_path, copy_network, spots):
    offsets = ((0.0,) * 4, (0.25, -0.5, -0.75, 0.125))
    fields = ((0.0, 0.0), (1.0, 0.0))
    export_model(
        tmp_path, "bottom_up", skeleton=PAIR, image_shape=SHAPE,
        whole_image=WholeImage(copy_network(2, pafs=fields, offsets=offsets), 0.5),
    )  # fmt: skip
    poses = ExportedModel(ExportedOptions(path=tmp_path)).predict(spots(SHAPE, [(40.5, 50.5), (80.5, 50.5)], 2.0), 0)
    # Cells (20, 25) and (40, 25) of the half-size image, which has half-pixel centres.
    expected = np.array([[20.25, 24.5], [39.25, 25.125]]) * 2 + 0.5
    np.testing.assert_allclose(poses.xy[0], expected, atol=1e-4)


def test_the_folder_says_what_it_is(tmp_path, copy_network):
    skeleton = Skeleton(("head", "tail"), ((1, 0),))
    spec = export_model(
        tmp_path / "new",
        "top_down",
        skeleton=skeleton,
        image_shape=(60, 70),
        whole_image=WholeImage(copy_network(stride=2), 0.5),
        crops=Crops(copy_network(2), 32),
        anchor="head",
        provenance={"trained_on": "labels.slp"},
    )
    assert ModelSpec.load(tmp_path / "new") == spec
    assert (spec.plan(), spec.whole_image.output_stride, spec.whole_image.pad_to_stride) == (skeleton, 2, 2)
    assert spec.provenance == {"trained_on": "labels.slp"}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "crops.onnx",
        "detector.onnx",
        "model.json",
        "model.onnx",
    ]


@pytest.mark.parametrize("kind", TYPES)
def test_the_graph_has_the_outputs_of_the_spec(spot_model, tmp_path, kind):
    spec = spot_model(kind).spec
    graph = onnx.load(tmp_path / "model.onnx").graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"image": ["batch", *SHAPE]} | {
        name: ["batch", *output.shape] for name, output in spec.outputs.items()
    }


def test_slots(spot_model):
    assert spot_model("single_instance", max_instances=5).max_instances == 1
    model = spot_model("bottom_up_id", max_instances=5)
    assert (model.max_instances, model.spec.peaks.max_peaks) == (2, 4)
    model = spot_model("bottom_up", max_instances=3, min_edge_score=0.5)
    assert (model.spec.peaks.max_peaks, model.spec.peaks.min_edge_score) == (5, 0.5)
    assert spot_model("bottom_up", max_instances=3, max_peaks=7).spec.peaks.max_peaks == 7


def test_exporting_again_replaces_the_folder_by_the_same(spot_model, tmp_path):
    first = spot_model("top_down").spec
    (tmp_path / "reference.npz").write_bytes(b"of the model before")
    assert spot_model("top_down").spec == first
    assert not (tmp_path / "reference.npz").exists()


CHAIN = Skeleton(("a", "b", "c"), ((0, 1), (1, 2)))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("top_down", {"skeleton": CHAIN}, "crops: confmaps: expected 3 channels (one a node), got 1"),
        ("top_down", {"crops": None}, "crops: expected a network for crops in a model of type top_down, got none"),
        ("centroid", {}, "crops: expected no network for crops in a model of type centroid, got one"),
        ("centroid", {"crops": None, "skeleton": CHAIN},
         "skeleton: expected 1 node, the anchor, for type centroid, got 3"),
        ("single_instance", {"crops": None, "skeleton": CHAIN},
         "whole_image: confmaps: expected 3 channels (one a node), got 1"),
        ("bottom_up", {"crops": None},
         "whole_image: expected the outputs confmaps, pafs (and perhaps offsets), got confmaps"),
        ("top_down_id", {"class_names": ("a", "b")},
         "crops: expected the outputs confmaps, class_vectors (and perhaps offsets), got confmaps"),
        ("top_down", {"pad_to_stride": 3}, "whole_image: expected pad_to_stride to be a multiple of 2, got 3"),
        ("top_down", {"max_instances": 1050}, "max_instances: expected less than the map's 1050 cells, got 1050"),
        ("top_down", {"class_names": ("a",)}, "export: $: class_names: expected none for type top_down"),
        ("top_down", {"anchor": "nose"}, "export: $: anchor: expected one of spot, got nose"),
        ("top_down", {"crop_size_px": 0}, "export: $.size_px: expected greater than 0, got 0"),
        ("top_down", {"views": 0}, "export: $.views: expected greater than or equal to 1, got 0"),
        ("top_down", {"views": 2, "geometry": "sleap_compat"},
         "export: $: crop.views: expected 1 for geometry sleap_compat, got 2"),
        ("top_down", {"image_shape": (0, 70)}, "export: $.height_px: expected greater than 0, got 0"),
        ("top_down", {"scale": 0.001}, "max_instances: expected less than the map's 0 cells, got 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, copy_network, kind, arguments, message):
    given = {"crop_size_px": 32, "views": 1, "pad_to_stride": None, "scale": 1.0}
    size_px, views, pad, scale = (arguments.pop(name, default) for name, default in given.items())
    crops = Crops(copy_network(), size_px, views=views)
    options = {"skeleton": SPOT, "image_shape": (60, 70), "crops": crops} | arguments
    with pytest.raises(ModelInputError) as error:
        export_model(tmp_path, kind, whole_image=WholeImage(copy_network(stride=2), scale, pad), **options)
    assert str(error.value) == message
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("kind", "heads", "message"),
    [
        ("bottom_up", {"pafs": ((1.0,) * 2, (0.0,) * 2)},
         "whole_image: pafs: expected 4 channels (two an edge), got 2"),
        ("bottom_up_id", {"class_maps": ((1.0,) * 3, (0.0,) * 3)},
         "whole_image: class_maps: expected 2 channels (one a class), got 3"),
        ("single_instance", {"offsets": ((1.0,) * 2, (0.0,) * 2)},
         "whole_image: offsets: expected 6 channels (two a confidence map), got 2"),
        ("single_instance", {"heat": ((1.0,), (0.0,))},
         "whole_image: expected the outputs confmaps (and perhaps offsets), got confmaps, heat"),
    ],
)  # fmt: skip
def test_heads_with_other_channels_are_refused(tmp_path, copy_network, kind, heads, message):
    network = copy_network(3, **heads)
    names = ("m", "f") if kind == "bottom_up_id" else ()
    with pytest.raises(ModelInputError) as error:
        export_model(
            tmp_path, kind, skeleton=CHAIN, image_shape=(60, 70), whole_image=WholeImage(network), class_names=names
        )
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (((0, 1), (1, 2), (2, 0)), "skeleton: expected a tree, got a circle of edges through a, b, c; "),
        (((0, 1),), "skeleton: expected edges that link all nodes, got none between a, b and c; "),
    ],
)
def test_a_bottom_up_skeleton_that_is_no_tree_is_refused(tmp_path, copy_network, edges, message):
    n = 2 * len(edges)
    network = copy_network(3, pafs=((1.0,) * n, (0.0,) * n))
    with pytest.raises(ModelNotOpenError) as error:
        export_model(
            tmp_path, "bottom_up", skeleton=Skeleton(("a", "b", "c"), edges), image_shape=(60, 70),
            whole_image=WholeImage(network),
        )  # fmt: skip
    assert str(error.value).startswith(message)
    assert not (tmp_path / "model.json").exists()


def test_a_network_without_its_weights_is_refused(tmp_path, copy_network):
    network = copy_network()
    with pytest.raises(ModelInputError) as error:
        export_model(
            tmp_path, "centroid", skeleton=SPOT, image_shape=(60, 70),
            whole_image=WholeImage(Network(network.layers, network.outputs)),
        )  # fmt: skip
    assert str(error.value) == "layer confmaps: expected the weight confmaps/kernel, got none"
