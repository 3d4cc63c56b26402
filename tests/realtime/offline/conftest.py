"""Real small videos of bright dots, and a model that finds them: a pose is a dot and what lies beside it."""

from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from models.errors import ModelFailedError
from models.poses import Poses
from models.skeleton import Skeleton
from models.spec import ImageSpec

HEIGHT, WIDTH = 48, 64
SKELETON = Skeleton(("head", "thorax", "tail"), ((1, 0), (1, 2)), ())
OFFSETS = np.array([[4, 0], [0, 0], [-4, 0]], np.float32)


def dots(index, n_frames=30):
    """Where the two animals are in frame `index`: one walks along the top, one against it along the bottom."""
    x = 8 + 48 * index / max(n_frames - 1, 1)
    return np.array([[x, 12], [WIDTH - 1 - x, 36]], np.float32).round()


def image_of(places):
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y in places.astype(int):
        image[y, x] = 250
    return image


@dataclass
class DotModel:
    """Finds every bright pixel; fails at the batch with number `fails_at`."""

    class_names: tuple = ()
    max_instances: int = 2
    fails_at: int | None = None
    digest: str = "ab" * 32
    overflows: int = 0
    faults: int = 0
    skeleton: Skeleton = SKELETON
    batches: list = field(default_factory=list)
    spec: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(image=ImageSpec(height_px=HEIGHT, width_px=WIDTH, channels=1))
    )

    @property
    def source(self):
        return {"kind": "fake", "path": "/models/dots", "engine": "fake 1", "files": {"model.onnx": self.digest}}

    def predict_batch(self, images):
        if len(self.batches) == self.fails_at:
            raise ModelFailedError("dots: inference failed")
        self.batches.append(len(images))
        return [self._poses(image if image.ndim == 2 else image[..., 0]) for image in images]

    def _poses(self, image):
        rows, columns = np.nonzero(image > 200)
        self.overflows += len(rows) > self.max_instances
        places = np.stack([columns, rows], axis=1).astype(np.float32)[::-1]
        xy = places[:, np.newaxis] + OFFSETS
        scores = np.full(xy.shape[:2], 0.75, np.float32)
        instance_scores = (0.5 + places[:, 1] / 100).astype(np.float32)
        # Class 0 lives in the upper half.
        upper = (places[:, 1:] < HEIGHT / 2).astype(np.float32)
        class_probs = np.hstack([0.1 + 0.8 * upper, 0.9 - 0.8 * upper]) if self.class_names else None
        return Poses(xy, scores, instance_scores, class_probs)


def write_images(path, images, times_ms=()):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264")
        stream.options = {"preset": "ultrafast", "g": "5", "qp": "0"}
        context = stream.codec_context
        context.height, context.width = images[0].shape[:2]
        context.pix_fmt, context.time_base = "gray", Fraction(1, 1000)
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            frame.pts, frame.time_base = (times_ms[k] if times_ms else 10 * k), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def dots_video(tmp_path):
    """30 frames of 64 × 48 px with two dots each, 100 a second."""
    return write_images(tmp_path / "dots.mkv", [image_of(dots(k)) for k in range(30)])


@pytest.fixture
def video_of(tmp_path):
    """Make a video: `video_of(places of the dots in each frame, name, times_ms)`."""

    def make(places, name="other.mp4", times_ms=()):
        return write_images(tmp_path / name, [image_of(np.asarray(place)) for place in places], times_ms)

    return make


@pytest.fixture
def dot_model():
    """Make a model that finds the dots."""
    return DotModel
