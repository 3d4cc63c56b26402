"""A loop made of parts that do what a test tells them, with a real stimulator and a real (recording) trigger.

And a real model, small enough to be made for one test.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

from camera_drivers.frame import Frame
from models.export.export import Crops, WholeImage, export_model
from models.export.reference import add_reference
from models.network import Layer, Network
from models.poses import Poses
from models.skeleton import Skeleton
from models.spec import sha256_of
from realtime.decision import Decision, Edge, State
from realtime.loop import Parts, StopRequest
from realtime.stimulus import Stimulator, StimulusSpec
from realtime.tracking import GreedyTracker, TrackerOptions
from triggers.recording import RecordingOptions, RecordingTrigger

N_NODES = 3
PERIOD_NS = 10_000_000
RIG = """
[camera]
driver = "sim"
seed = {seed}
{camera}
[model]
kind = "exported"
path = "{model}"
[animal]
front = "head"
back = "abdomen"
centre = "thorax"
{rest}
"""


@pytest.fixture(scope="session")
def rig_text():
    """The text of a rig of two simulated animals: `rig_text(rest, camera=..., seed=..., model=...)`.

    `rest` are its other sections, `camera` is what its camera has beside driver and seed.
    """

    def text(rest="", *, camera="", seed=7, model="zoo:sim_pair"):
        return RIG.format(camera=camera, seed=seed, model=model, rest=rest)

    return text


@dataclass
class ScriptedCamera:
    """Gives `n_frames` frames that are all available at time 0, then has ended; fails at `fails_at`."""

    n_frames: int
    fails_at: int | None = None
    silent: bool = False
    next_id: int = 0
    closed: int = 0
    events: list = field(default_factory=list)
    drops: dict = field(default_factory=dict)

    @property
    def ended(self):
        return self.next_id >= self.n_frames

    def grab(self, timeout_s):
        if self.silent:
            return None
        if self.next_id == self.fails_at:
            raise OSError("camera unplugged")
        frame_id = self.next_id
        self.next_id += 1
        return Frame(frame_id, frame_id * PERIOD_NS, 0, None, np.zeros((8, 8), np.uint8))

    def close(self):
        self.closed += 1
        self.events.append("camera closed")


@dataclass
class StillModel:
    """Finds two animals that never move."""

    uses_expected_xy = False
    events: list = field(default_factory=list)

    def predict(self, image, frame_id, expected_xy=None):
        xy = np.array([[[0, 0], [10, 0], [20, 0]], [[100, 0], [110, 0], [120, 0]]], np.float32)
        return Poses(xy, np.ones((2, N_NODES), np.float32), np.ones(2, np.float32))

    def review(self, image, frame_id):
        pass

    def close(self):
        self.events.append("model closed")


@dataclass
class RisingRule:
    """Rises at the given frames."""

    at: tuple = ()

    def evaluate(self, tracks, frame_id, timestamp_ns):
        edge = Edge.RISING if frame_id in self.at else Edge.NONE
        return Decision("near", frame_id, timestamp_ns, State.ON, edge, (1, 2), (1.5,), ("mm",))


class ListSink:
    def __init__(self):
        self.frames = []

    def append(self, processed):
        self.frames.append(processed)


class FixedClock:
    def __init__(self, now_ns=0):
        self.time_ns = now_ns

    def now_ns(self):
        return self.time_ns


class NotingTrigger(RecordingTrigger):
    """Also notes the order of things."""

    def __init__(self, events):
        super().__init__(RecordingOptions())
        self.events = events

    def all_off(self):
        super().all_off()
        self.events.append("all off")

    def close(self):
        super().close()
        self.events.append("trigger closed")


@dataclass
class Bench:
    """A loop and everything that a test may want to look at or turn."""

    parts: Parts
    camera: ScriptedCamera
    trigger: NotingTrigger
    sink: ListSink
    clock: FixedClock
    events: list
    stop: StopRequest


@pytest.fixture
def make_bench():
    def make(*, n_frames=5, rising_at=(), deadline_ns=1_000_000, camera_lost_s=1.0, **camera):
        events = []
        scripted = ScriptedCamera(n_frames, events=events, **camera)
        trigger = NotingTrigger(events)
        trigger.open()
        stimulus = StimulusSpec(rule="near", triggers=("laser",), channel=0, duration_ms=10)
        sink = ListSink()
        clock = FixedClock()
        parts = Parts(
            camera=scripted,
            model=StillModel(events),
            tracker=GreedyTracker(TrackerOptions(), N_NODES),
            rules=(RisingRule(tuple(rising_at)),),
            stimulator=Stimulator({"light": stimulus}, {"laser": trigger}, {}, deadline_ns, armed=True),
            clock=clock,
            sinks=(sink,),
            camera_lost_s=camera_lost_s,
        )
        return Bench(parts, scripted, trigger, sink, clock, events, StopRequest())

    return make


SPOTS_PX = 96
SPOTS_XY = ((30, 20), (70, 60))


@pytest.fixture
def draw_spots():
    """An image with bright spots at `points` (x, y)."""

    def draw(points=SPOTS_XY):
        y, x = np.mgrid[:SPOTS_PX, :SPOTS_PX]
        spots = [np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / 4.5) for spot_x, spot_y in points]
        return np.round(np.max(spots, axis=0) * 250).astype(np.uint8)

    return draw


@pytest.fixture
def spot_model(tmp_path, draw_spots):
    """The folder of a model that finds bright spots, with a reference; every node of an animal is the same spot."""
    nodes = ("head", "thorax", "abdomen")
    out = tmp_path / "spot_model"
    export_model(
        out, "top_down", skeleton=Skeleton(nodes), image_shape=(SPOTS_PX, SPOTS_PX),
        whole_image=WholeImage(_copying(1)), crops=Crops(_copying(len(nodes)), 24),
    )  # fmt: skip
    add_reference(out, draw_spots()[np.newaxis])
    return out


def _copying(n_maps):
    """A network whose maps are its input, by a 3×3 kernel with a one in its middle."""
    kernel = np.zeros((3, 3, 1, n_maps), np.float32)
    kernel[1, 1] = 1.0
    layers = (Layer("input", "input", channels=1), Layer("maps", "conv", ("input",), n_maps, 3))
    return Network(layers, {"confmaps": "maps"}, {"maps/kernel": kernel, "maps/bias": np.zeros(n_maps, np.float32)})


@pytest.fixture
def shift_weights():
    """Move every kernel of a model by one pixel, and correct the hash, so that the folder fits together again."""

    def shift(folder):
        path = folder / "model.onnx"
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            kernel = onnx.numpy_helper.to_array(tensor)
            if kernel.ndim == 4:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.roll(kernel, 1, axis=3), tensor.name))
        path.write_bytes(model.SerializeToString())
        described = json.loads((folder / "model.json").read_text())
        described["graph"]["sha256"] = sha256_of(path)
        (folder / "model.json").write_text(json.dumps(described))

    return shift


@pytest.fixture
def forget_reference():
    """Take the reference out of a model folder."""

    def forget(folder):
        described = json.loads((folder / "model.json").read_text()) | {"reference": None}
        (folder / "model.json").write_text(json.dumps(described))

    return forget
