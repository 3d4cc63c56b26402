import numpy as np
import pytest

from models.errors import ModelInputError, ModelNotOpenError
from models.export.export import Crops, WholeImage, export_model
from models.exported import ExportedModel, ExportedOptions
from models.guided import GuidedModel, GuidedOptions
from models.skeleton import Skeleton
from models.testing import check_model

SHAPE = (90, 100)
SIDE = 24
HERE = np.array([(30.0, 20.0), (70.0, 60.0)], np.float32)


@pytest.fixture
def model(tmp_path, copy_network):
    """A model of spots; opened twice: as it is exported, and guided."""

    def make(*, max_instances=2, channels=1, views=1, **options):
        crops = copy_network(1, channels, class_vectors=((1.0, -1.0), (0.0, 0.5))) if channels == 3 else copy_network()
        export_model(
            tmp_path,
            "top_down_id" if channels == 3 else "top_down",
            skeleton=Skeleton(("spot",)),
            image_shape=SHAPE if channels == 1 else (*SHAPE, 3),
            whole_image=WholeImage(copy_network(1, channels)),
            crops=Crops(crops, SIDE, views=views),
            anchor="spot",
            max_instances=max_instances,
            class_names=("bright", "dark") if channels == 3 else (),
        )
        return ExportedModel(ExportedOptions(path=tmp_path)), GuidedModel(GuidedOptions(path=tmp_path, **options))

    return make


def expected(points):
    return np.asarray(points, np.float32)[:, np.newaxis]


def sorted_xy(poses):
    xy = poses.xy[:, 0]
    return xy[np.argsort(xy[:, 0])]


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("views", [1, 4, 8])
def test_with_the_detector_the_poses_are_those_of_the_whole_graph(model, spots, n, channels, views):
    whole, guided = model(channels=channels, views=views)
    image = spots(SHAPE, [(30, 20), (70, 60), (97, 3)][:n], 3)
    image = image if channels == 1 else np.repeat(image[..., np.newaxis], 3, axis=2)
    one, other = whole.predict(image, 0), guided.predict(image, 0)
    assert (one.class_probs is None) == (other.class_probs is None) == (channels == 1)
    # Engines may round otherwise in a batch that has more views in it.
    rtol = 0 if views == 1 else 1e-6
    for name in ("xy", "node_scores", "instance_scores", *(["class_probs"] if channels == 3 else [])):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol)
    assert (whole.faults, whole.overflows) == (guided.faults, guided.overflows)
    assert guided.n_detected == 1


def test_contract(model, spots):
    _, guided = model()
    check_model(guided, [spots(SHAPE, HERE + k, 3) for k in range(3)])


@pytest.mark.parametrize("views", [1, 8])
def test_it_follows_without_the_detector(model, spots, views):
    _, guided = model(detect_every=100, views=views)
    guided.predict(spots(SHAPE, HERE, 3), 0)
    for k in range(1, 20):
        now = HERE + k
        poses = guided.predict(spots(SHAPE, now, 3), k, expected(now - 1))
        np.testing.assert_allclose(sorted_xy(poses), now, atol=0.05)
        assert (poses.instance_scores == poses.node_scores[:, 0]).all()
    assert guided.n_detected == 1


@pytest.mark.parametrize(
    ("detect_every", "n_frames", "n_detected"), [(1, 6, 6), (2, 6, 3), (5, 11, 3)], ids=["always", "half", "a-fifth"]
)
def test_the_detector_runs_as_often_as_asked(model, spots, detect_every, n_frames, n_detected):
    _, guided = model(detect_every=detect_every)
    image = spots(SHAPE, HERE, 3)
    for k in range(n_frames):
        guided.predict(image, k, expected(HERE))
    assert guided.n_detected == n_detected


def test_dropped_frames_count_and_a_clock_that_goes_back_is_asked_about(model, spots):
    _, guided = model(detect_every=8)
    image = spots(SHAPE, HERE, 3)
    for frame_id, n_detected in ((100, 1), (107, 1), (108, 2), (3, 3), (4, 3)):
        guided.predict(image, frame_id, expected(HERE))
        assert guided.n_detected == n_detected


def test_a_new_animal_is_found_in_time(model, spots):
    _, guided = model(max_instances=3, detect_every=4)
    guided.predict(spots(SHAPE, HERE, 3), 0)
    both = [*HERE, (20.0, 70.0)]
    n = [len(guided.predict(spots(SHAPE, both, 3), k, expected(HERE)).xy) for k in range(1, 5)]
    assert n == [2, 2, 2, 3]


def test_after_the_command_the_detector_runs_in_time_so_that_no_frame_waits_for_it(model, spots):
    _, guided = model(detect_every=5)
    counts = []
    for k in range(12):
        image = spots(SHAPE, HERE + k, 3)
        poses = guided.predict(image, k, expected(HERE + k - 1))
        guided.review(image, k)
        np.testing.assert_allclose(sorted_xy(poses), HERE + k, atol=0.05)
        counts.append((guided.n_detected, guided.n_reviewed))
    assert counts == [(1, 0)] * 4 + [(1, 1)] * 4 + [(1, 2)] * 4


def test_a_new_animal_is_found_in_time_after_the_command(model, spots):
    _, guided = model(max_instances=3, detect_every=4)
    where = HERE
    n = []
    for k in range(9):
        image = spots(SHAPE, HERE if k == 0 else [*HERE, (20.0, 70.0)], 3)  # unseen for at most `detect_every` frames
        poses = guided.predict(image, k, expected(where))
        guided.review(image, k)
        where = poses.xy[:, 0]
        n.append(len(where))
    assert n == [2, 2, 2, 2, 3, 3, 3, 3, 3]
    assert guided.n_detected == 2


REVIEWS = {
    "the same": (HERE, 2, False, False),
    "the same in another order": (HERE[::-1], 2, False, False),
    "the same within the noise of a detector": (HERE + 2, 2, False, False),
    "nothing": (HERE, 0, False, True),
    "one less": (HERE, 1, False, True),
    "one more": ([*HERE, (20.0, 70.0)], 3, False, True),
    "one between both, and another one": ([HERE[0] + (2, 0), (20.0, 70.0)], 2, False, True),
    "one of them elsewhere": ([HERE[0], (20.0, 70.0)], 2, False, True),
    "one of them twice": ([HERE[0], HERE[0] + 1], 2, False, True),
    "more than there are slots for": (HERE, 2, True, True),
    "a place that is none": ([HERE[0], (np.nan, np.nan)], 2, False, True),
}


@pytest.mark.parametrize("name", REVIEWS)
def test_what_the_detector_sees_otherwise_after_the_command_it_says_in_the_next_frame(model, spots, monkeypatch, name):
    places, n, overflow, asks_again = REVIEWS[name]
    whole, guided = model(max_instances=3, detect_every=3)
    image = spots(SHAPE, HERE, 3)
    for k in range(3):
        guided.predict(image, k, expected(HERE))

    class Detector:
        def run(self, _):
            found = guided._found
            if name == "one between both, and another one":
                guided._outputs["xy"][0, 1] = HERE[0] + (4, 0)
            found["xy"][0, : len(places), 0] = places
            found["valid"][0] = np.arange(3) < n
            found["overflow"][0] = overflow

    with monkeypatch.context() as patch:
        patch.setattr(guided, "_detect_graph", Detector())
        guided.review(image, 2)
    assert (guided.n_detected, guided.n_reviewed) == (1, 1)
    np.testing.assert_array_equal(guided.predict(image, 3, expected(HERE)).xy, whole.predict(image, 3).xy)
    assert guided.n_detected == 1 + asks_again


def test_to_review_without_a_frame_or_twice_is_harmless(model, spots):
    _, guided = model(detect_every=1)
    image = spots(SHAPE, HERE, 3)
    guided.review(image, 0)
    guided.predict(image, 1, expected(HERE))
    guided.review(image, 1)
    assert (guided.n_detected, guided.n_reviewed) == (1, 0)


DOUBTS = {
    "nobody is expected": (HERE, None),
    "one more is expected than was seen": (HERE, [*HERE, (20.0, 70.0)]),
    "one less is expected than was seen": (HERE, HERE[:1]),
    "one is gone": (HERE[:1], HERE),
    "one is at the edge of its crop, and far from the middle of the second one": (
        HERE + np.float32([(0, 0), (15, 0)]),
        HERE,
    ),
    "one left its crop": (HERE + np.float32([(0, 0), (-30, 0)]), HERE),
    "both crops show the same": (HERE[:1], [HERE[0], HERE[0] + 1]),
    "an expected place is not known": (HERE, [HERE[0], (np.nan, np.nan)]),
    "an expected place is outside": (HERE[:1], [HERE[0], (140.0, 20.0)]),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_in_doubt_the_detector_is_asked(model, spots, name):
    now, where = DOUBTS[name]
    whole, guided = model(max_instances=3, detect_every=100)
    guided.predict(spots(SHAPE, HERE, 3), 0)
    image = spots(SHAPE, now, 3)
    found = guided.predict(image, 1, None if where is None else expected(where))
    assert guided.n_detected == 2
    np.testing.assert_array_equal(found.xy, whole.predict(image, 1).xy)
    # Nothing of the doubt is left.
    guided.predict(image, 2, expected(now))
    assert guided.n_detected == 2


@pytest.mark.parametrize("moved", [(6, 0), (0, -8), (-7, 9)], ids=str)
@pytest.mark.parametrize("slot", [0, 1])
def test_what_is_elsewhere_in_its_crop_gets_a_second_look(model, spots, moved, slot):
    _, guided = model(max_instances=3, detect_every=100)
    guided.predict(spots(SHAPE, HERE, 3), 0)
    now = HERE.copy()
    now[slot] += moved
    where = expected(HERE.copy())
    poses = guided.predict(spots(SHAPE, now, 3), 1, where)
    np.testing.assert_array_equal(where, expected(HERE))
    np.testing.assert_allclose(poses.xy[:, 0], now, atol=0.05)
    assert (poses.node_scores > 0.9).all()
    assert guided.n_detected == 1


@pytest.mark.parametrize("elsewhere", [(30.0, 80.0), (140.0, 20.0)], ids=["inside", "outside"])
@pytest.mark.parametrize("track", [0, 1])
def test_an_animal_that_its_track_lost_is_looked_for_where_it_was_seen(model, spots, elsewhere, track):
    """It jumped, the detector found it, and the tracker waits for it where it was before."""
    _, guided = model(detect_every=100)
    guided.predict(spots(SHAPE, HERE, 3), 0)
    where = HERE.copy()
    where[track] = elsewhere
    for frame_id in (1, 2):  # the second time it is what the crops saw that counts
        now = HERE + frame_id
        poses = guided.predict(spots(SHAPE, now, 3), frame_id, expected(where))
        np.testing.assert_allclose(sorted_xy(poses), now, atol=0.05)
    assert guided.n_detected == 1


def test_an_animal_that_moves_is_looked_for_where_it_is_expected(model, spots):
    """As far as that is from where it was, up to half a crop."""
    _, guided = model(detect_every=100)
    guided.predict(spots(SHAPE, HERE, 3), 0)
    now = HERE + np.float32([(11, 0), (0, 11)])
    looked_at = []
    look = guided._look
    guided._look = lambda image, anchors, slots: (looked_at.append(anchors.copy()), look(image, anchors, slots))
    poses = guided.predict(spots(SHAPE, now, 3), 1, expected(now))
    np.testing.assert_allclose(sorted_xy(poses), now, atol=0.05)
    np.testing.assert_array_equal(looked_at, [now])
    assert guided.n_detected == 1


def test_a_second_look_at_another_animal_is_a_doubt(model, spots):
    """The first animal is gone, and its crop shows the second one, which has a crop of its own."""
    now = np.array([(30.0, 20.0), (39.0, 20.0)], np.float32)
    whole, guided = model(max_instances=3, detect_every=100)
    guided.predict(spots(SHAPE, now, 3), 0)
    image = spots(SHAPE, now[1:], 3)
    found = guided.predict(image, 1, expected(now))
    assert guided.n_detected == 2
    np.testing.assert_array_equal(found.xy, whole.predict(image, 1).xy)


def test_few_nodes_seen_are_a_doubt(tmp_path, copy_network, spots):
    """Of two maps one never reaches the threshold: half of the nodes are seen."""
    crops = copy_network(2, confmaps=((1.0, 0.0), (0.0, 0.1)))
    export_model(
        tmp_path,
        "top_down",
        skeleton=Skeleton(("spot", "never")),
        image_shape=SHAPE,
        whole_image=WholeImage(copy_network()),
        crops=Crops(crops, SIDE),
        anchor="spot",
    )
    image = spots(SHAPE, HERE, 3)
    where = np.stack([HERE, HERE], axis=1)
    for min_seen, n_detected in ((0.5, 1), (0.6, 2)):
        guided = GuidedModel(GuidedOptions(path=tmp_path, min_seen=min_seen))
        guided.predict(image, 0)
        guided.predict(image, 1, where)
        assert guided.n_detected == n_detected


def test_nothing_of_the_frame_before_is_left_in_a_crop(model, spots):
    whole, guided = model()
    image = spots(SHAPE, [(1, 2), (98, 88)], 3)
    guided.predict(np.full(SHAPE, 255, np.uint8), 0)
    np.testing.assert_array_equal(guided.predict(image, 1).xy, whole.predict(image, 1).xy)


def test_an_animal_without_nodes_leaves_no_slot_behind(tmp_path, copy_network, export_spots, spots):
    """The crops' network sees half of what the detector does: the faint animal is found and has no node."""
    half_as_bright = copy_network(confmaps=((0.5,), (0.0,)))
    export_spots(tmp_path, SHAPE, crops=half_as_bright, side=SIDE, anchor="spot", max_instances=3)
    guided = GuidedModel(GuidedOptions(path=tmp_path, detect_every=100))
    image = np.maximum(spots(SHAPE, HERE, 3), spots(SHAPE, [(20, 70)], 3, top=80.0))
    assert len(guided.predict(image, 0).xy) == 2
    assert guided.outputs["valid"].tolist() == [[True, True, True]]
    assert len(guided.predict(image, 1, expected(HERE)).xy) == 2
    assert guided.n_detected == 1
    assert guided.outputs["valid"].tolist() == [[True, True, False]]
    assert np.isnan(guided.outputs["xy"][0, 2]).all()


@pytest.mark.parametrize("at", [(1.0, 2.0), (98.0, 88.0), (0.0, 45.0)], ids=["corner", "other-corner", "edge"])
def test_crops_over_the_border_are_dark_there(model, spots, at):
    whole, guided = model(detect_every=100)
    image = spots(SHAPE, [at], 3)
    guided.predict(image, 0)
    found = guided.predict(image, 1, expected([at]))
    assert guided.n_detected == 1
    np.testing.assert_allclose(found.xy, whole.predict(image, 0).xy, atol=1e-5)


def test_the_last_frame_of_another_size_of_group_leaves_nothing(model, spots):
    whole, guided = model(max_instances=5, detect_every=100)
    many = np.array([(12, 12), (40, 12), (70, 12), (12, 60), (50, 60)], np.float32)
    guided.predict(spots(SHAPE, many, 3), 0, None)
    assert len(guided.predict(spots(SHAPE, many, 3), 1, expected(many)).xy) == 5
    few = spots(SHAPE, many[:1], 3)
    np.testing.assert_array_equal(guided.predict(few, 2, None).xy, whole.predict(few, 2).xy)


def test_without_an_anchor_the_middle_of_the_box_is(tmp_path, copy_network, spots):
    export_model(
        tmp_path,
        "top_down",
        skeleton=Skeleton(("a", "b")),
        image_shape=SHAPE,
        whole_image=WholeImage(copy_network()),
        crops=Crops(copy_network(2), SIDE),
    )
    guided = GuidedModel(GuidedOptions(path=tmp_path, detect_every=100))
    image = spots(SHAPE, HERE, 3)
    guided.predict(image, 0)
    apart = np.array([(-4, 0), (4, 0)], np.float32)
    found = guided.predict(image, 1, HERE[:, np.newaxis] + apart)
    assert guided.n_detected == 1
    np.testing.assert_allclose(found.xy[:, 0], HERE, atol=0.05)
    np.testing.assert_allclose(found.instance_scores, found.node_scores.mean(axis=1))


def test_models_without_halves_say_so(tmp_path, copy_network):
    def export(**options):
        export_model(
            tmp_path, skeleton=Skeleton(("spot",)), image_shape=SHAPE, whole_image=WholeImage(copy_network()), **options
        )

    export(type="centroid")
    with pytest.raises(ModelNotOpenError, match="expected a top-down model for kind guided, got centroid"):
        GuidedModel(GuidedOptions(path=tmp_path))
    export(type="top_down", crops=Crops(copy_network(), SIDE), geometry="sleap_compat")
    with pytest.raises(ModelNotOpenError, match=r"expected the halves of the model .* got none"):
        GuidedModel(GuidedOptions(path=tmp_path))


def test_a_changed_half_is_refused(model, tmp_path):
    model()
    (tmp_path / "crops.onnx").write_bytes(b"other")
    with pytest.raises(ModelNotOpenError, match=r"crops\.onnx: expected SHA-256"):
        GuidedModel(GuidedOptions(path=tmp_path))


def test_an_image_of_another_shape_is_refused(model):
    _, guided = model()
    with pytest.raises(ModelInputError, match="expected an image of shape"):
        guided.predict(np.zeros((10, 10), np.uint8), 0)


def test_bfloat16_moves_points_by_a_fraction_of_a_pixel_and_is_not_for_the_whole_graph(model, tmp_path, spots):
    openvino = pytest.importorskip("openvino")
    engine = pytest.importorskip("models.engines.openvino")
    model()
    if not engine.has_bfloat16(openvino.Core()):
        with pytest.raises(ModelNotOpenError, match="expected a processor with bfloat16"):
            GuidedModel(GuidedOptions(path=tmp_path, engine="openvino", precision="bf16"))
        pytest.skip("this processor has no bfloat16")
    guided = GuidedModel(GuidedOptions(path=tmp_path, engine="openvino", precision="bf16"))
    image = spots(SHAPE, HERE, 3)
    for where in (None, expected(HERE)):
        np.testing.assert_allclose(sorted_xy(guided.predict(image, 0, where)), HERE, atol=0.2)
    assert "bf16" in guided.source["engine"]
    with pytest.raises(
        ModelNotOpenError, match="expected fp32, fp16 or int8 for kind exported, got bf16; use kind guided"
    ):
        ExportedModel(ExportedOptions(path=tmp_path, engine="openvino", precision="bf16"))
