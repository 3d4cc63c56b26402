import numpy as np
import onnxruntime
import pytest

from models.errors import ModelInputError
from models.export.top_down import export_top_down
from models.skeleton import Skeleton
from models.spec import ModelSpec

SPOT = Skeleton(("spot",))
# Not a multiple of any stride used below.
SHAPE = (613, 637)


def phases(cell_px):
    """100 points, far apart, at every tenth of a cell in x and in y: errors of the refinement cancel."""
    tenths = (np.arange(10) + 0.5) / 10
    k = np.arange(10) * 58 // cell_px * cell_px + 42 // cell_px * cell_px
    x, y = np.meshgrid(k, k)
    along, down = np.meshgrid(tenths, tenths)
    return np.stack([x + along * cell_px, y + down * cell_px], axis=-1).reshape(-1, 2)


def sessions(folder):
    return [onnxruntime.InferenceSession(folder / f"{role}.onnx") for role in ("detector", "instances")]


def detector_error(tmp_path, copy_network, spots, scale, stride, geometry, shape=SHAPE):
    cell_px = stride / scale
    export_top_down(
        copy_network(stride=stride),
        copy_network(),
        tmp_path,
        skeleton=SPOT,
        image_shape=shape,
        crop_size_px=32,
        detector_scale=scale,
        pad_to_stride=16,
        max_instances=100,
        geometry=geometry,
    )
    truth = phases(cell_px)
    image = spots(shape, truth, sigma_px=1.1 * cell_px)
    centroids, _, valid = sessions(tmp_path)[0].run(None, {"image": image})
    # SLEAP finds no peak where the image's whole levels make neighbouring cells equal.
    assert valid.mean() >= (1.0 if geometry == "exact" else 0.8)
    found = centroids[valid]
    nearest = np.linalg.norm(found[:, np.newaxis] - truth, axis=2).argmin(axis=1)
    return np.median(found - truth[nearest], axis=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 1.0])
def test_the_detector_has_no_bias(tmp_path, copy_network, spots, scale, stride):
    error = detector_error(tmp_path, copy_network, spots, scale, stride, "exact")
    assert np.abs(error).max() < 0.05


@pytest.mark.parametrize(("scale", "bias"), [(0.25, -1.0), (0.75, 1 / 3), (0.5, 0.0), (1.0, 0.0)])
def test_sleap_geometry_shifts_the_detector(tmp_path, copy_network, spots, scale, bias):
    """SLEAP's p / r + 0.5 is right only at r = 0.5, and at r = 1, where it is not applied."""
    error = detector_error(tmp_path, copy_network, spots, scale, 1, "sleap_compat", shape=(612, 640))
    np.testing.assert_allclose(error, bias, atol=0.05)


def instance_error(tmp_path, copy_network, spots, side, stride, scale, geometry):
    cell_px = stride / scale
    export_top_down(
        copy_network(),
        copy_network(stride=stride),
        tmp_path,
        skeleton=SPOT,
        image_shape=SHAPE,
        crop_size_px=side,
        instance_scale=scale,
        max_instances=100,
        geometry=geometry,
    )
    truth = phases(cell_px)
    image = spots(SHAPE, truth, sigma_px=1.1 * cell_px)
    # Crops around points up to 2 cells beside the animals, so that every position within a cell is as frequent.
    truth = np.tile(truth, (10, 1))
    beside = np.random.default_rng(2).uniform(-2 * cell_px, 2 * cell_px, truth.shape)
    centroids = (truth + beside).astype(np.float32)
    peaks, values = sessions(tmp_path)[1].run(None, {"image": image, "centroids": centroids})
    assert peaks.shape == (1000, 1, 2)
    assert values.min() > 0.5
    return np.median(peaks[:, 0] - truth, axis=0)


INSTANCES = [(32, 1, 1.0), (33, 1, 1.0), (32, 2, 1.0), (44, 2, 0.5), (40, 1, 0.5), (40, 1, 0.75)]


@pytest.mark.parametrize(("side", "stride", "scale"), INSTANCES)
def test_instances_have_no_bias(tmp_path, copy_network, spots, side, stride, scale):
    error = instance_error(tmp_path, copy_network, spots, side, stride, scale, "exact")
    assert np.abs(error).max() < 0.05


@pytest.mark.parametrize(("side", "stride", "scale"), INSTANCES[:3])
def test_sleap_geometry_shifts_instances_by_half_a_pixel(tmp_path, copy_network, spots, side, stride, scale):
    error = instance_error(tmp_path, copy_network, spots, side, stride, scale, "sleap_compat")
    np.testing.assert_allclose(error, -0.5, atol=0.08)


def test_an_animal_at_the_border_is_found_where_it_is(tmp_path, copy_network, spots):
    export_top_down(
        copy_network(), copy_network(), tmp_path, skeleton=SPOT, image_shape=(60, 70), crop_size_px=32
    )  # fmt: skip
    for point in [(0, 0), (69, 0), (0, 59), (69, 59), (35, 0)]:
        image = spots((60, 70), [point], sigma_px=1.5)
        detector, instances = sessions(tmp_path)
        centroids, _, valid = detector.run(None, {"image": image})
        assert valid.tolist() == [True, False]
        peaks, _ = instances.run(None, {"image": image, "centroids": centroids[:1]})
        # Half of the spot lies outside, which draws the refined point inwards.
        np.testing.assert_allclose(peaks[0, 0], point, atol=1.2)
        np.testing.assert_allclose(peaks[0, 0], centroids[0], atol=1e-4)


def test_colour_images_and_colour_networks(tmp_path, copy_network, spots):
    gray = spots((60, 70), [(30.3, 20.6)], sigma_px=1.0)
    for channels in (1, 3):
        folder = tmp_path / str(channels)
        export_top_down(
            copy_network(channels=channels),
            copy_network(channels=channels),
            folder,
            skeleton=SPOT,
            image_shape=(60, 70, 3),
            crop_size_px=32,
        )
        image = np.repeat(gray[:, :, np.newaxis], 3, axis=2)
        detector, instances = sessions(folder)
        centroids, _, _ = detector.run(None, {"image": image})
        peaks, _ = instances.run(None, {"image": image, "centroids": centroids[:1]})
        np.testing.assert_allclose(peaks[0, 0], (30.3, 20.6), atol=0.05)


def test_the_folder_says_what_it_is(tmp_path, copy_network):
    skeleton = Skeleton(("head", "tail"), ((1, 0),))
    spec = export_top_down(
        copy_network(stride=2),
        copy_network(n_maps=2),
        tmp_path / "new",
        skeleton=skeleton,
        image_shape=(60, 70),
        crop_size_px=32,
        detector_scale=0.5,
        anchor="head",
        provenance={"trained_on": "labels.slp"},
    )
    assert ModelSpec.load(tmp_path / "new") == spec
    assert (spec.plan(), spec.detector.output_stride, spec.detector.pad_to_stride) == (skeleton, 2, 2)
    assert spec.provenance == {"trained_on": "labels.slp"}


def test_exporting_twice_gives_the_same_files(tmp_path, copy_network):
    specs = [
        export_top_down(
            copy_network(), copy_network(), tmp_path / str(k), skeleton=SPOT, image_shape=(60, 70), crop_size_px=32
        )
        for k in range(2)
    ]
    assert specs[0] == specs[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"skeleton": Skeleton(("a", "b", "c"))},
            "instances: expected 3 confidence maps and at most 6 offset maps, got outputs with 1 channels",
        ),
        ({"pad_to_stride": 3}, "detector: expected pad_to_stride to be a multiple of 2, got 3"),
        ({"max_instances": 2000}, "max_instances: expected at most the map's 1050 cells, got 2000"),
        ({"crop_size_px": 0}, "export: $.crop_size_px: expected greater than 0, got 0"),
        ({"image_shape": (0, 70)}, "export: $.height_px: expected greater than 0, got 0"),
    ],
    ids=["nodes", "pad", "slots", "crop", "image"],
)
def test_networks_that_do_not_fit_are_refused(tmp_path, copy_network, arguments, message):
    options = {"skeleton": SPOT, "image_shape": (60, 70), "crop_size_px": 32} | arguments
    with pytest.raises(ModelInputError) as error:
        export_top_down(copy_network(stride=2), copy_network(), tmp_path, **options)
    assert str(error.value) == message
