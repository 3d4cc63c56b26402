"""Simulated animals for the tests of training: a video and a label file in a folder, drawn in a second."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

NODES = ("head", "thorax", "tail", "arm")
EDGES = ((1, 0), (1, 2), (1, 3))
HEIGHT, WIDTH = 120, 136
# Along and to the left of the body, px. The arm is on one side only: a mirrored animal is another one.
PLAN = np.array([(15, 0), (0, 0), (-14, 0), (1, 10)], np.float64)
SIGMAS_PX = (2.2, 4.5, 3.6, 1.6)
GRAYS = {"bright": (240, 180, 100, 220), "dim": (240, 60, 100, 220)}


def draw(animals: Sequence[tuple[str, np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Blobs at the nodes of each animal, the brighter on top, on dark noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.zeros((HEIGHT, WIDTH))
    for look, points in animals:
        for (px, py), sigma, gray in zip(points, SIGMAS_PX, GRAYS[look], strict=True):
            np.maximum(image, gray * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)), out=image)
    return np.clip(image + 15 + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def place(rng: np.random.Generator, n: int) -> np.ndarray:
    """`(n, n_nodes, 2)` px: animals anywhere in the image, any way round, not on top of each other."""
    while True:
        thoraces = rng.uniform((22, 22), (WIDTH - 22, HEIGHT - 22), (n, 2))
        if all(np.linalg.norm(thoraces[i] - thoraces[j]) > 34 for i in range(n) for j in range(i)):
            break
    angles = rng.uniform(0, 2 * np.pi, n)
    turns = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
    return thoraces[:, None] + np.einsum("nij,kj->nki", turns, PLAN)


def write_video(path: Path, images: Sequence[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width = images[0].shape
        stream.pix_fmt = "gray"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())


def write_labels(
    path: Path, frames: Sequence[Sequence[np.ndarray]], tracks: Sequence[str] = (), edges: Sequence = EDGES
) -> None:
    """Instance k of a frame is on track k, if there are tracks."""
    sleap_io = pytest.importorskip("sleap_io", reason="needs the extra train")
    skeleton = sleap_io.Skeleton(nodes=list(NODES), edges=[(NODES[a], NODES[b]) for a, b in edges])
    video = sleap_io.Video(filename="film.mkv", open_backend=False)
    names = [sleap_io.Track(name) for name in tracks]
    labelled = [
        sleap_io.LabeledFrame(
            video=video,
            frame_idx=index,
            instances=[
                sleap_io.Instance.from_numpy(points, skeleton=skeleton, track=names[k] if names else None)
                for k, points in enumerate(animals)
            ],
        )
        for index, animals in enumerate(frames)
    ]
    labels = sleap_io.Labels(labelled, videos=[video], skeletons=[skeleton], tracks=names)
    labels.save(str(path), embed=False, verbose=False)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with `film.mkv` and `labels.slp`: `film(n_animals, n_frames)`; two animals look different."""
    made: dict[tuple[int, int], Path] = {}

    def make(n_animals: int = 2, n_frames: int = 200) -> Path:
        key = (n_animals, n_frames)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"film{n_animals}")
            rng = np.random.default_rng(n_animals)
            looks = ("bright", "dim")[:n_animals]
            frames = [place(rng, n_animals) for _ in range(n_frames)]
            write_video(folder / "film.mkv", [draw(list(zip(looks, frame, strict=True)), rng) for frame in frames])
            write_labels(folder / "labels.slp", frames, looks)
            made[key] = folder
        return made[key]

    return make
