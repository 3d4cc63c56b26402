"""Labelled training data from the simulated camera: `python -m benchmarks.make_sim_labels OUT --frames N`.

Writes `OUT/sim.mkv` (lossless) and `OUT/sim.slp` (the true poses, as if labelled by hand) with as many films as it
takes at 50 frames a film; films differ in seed, noise, size and number of animals. The last fifth are films of the
default options, to hold out: `held_out` for the training configuration is printed.
"""

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import sleap_io
from numpy.typing import NDArray

from camera_drivers.sim import EDGES, NODE_NAMES, SYMMETRIES, SimOptions, SimScene

FRAMES_PER_FILM = 50
FRAMES_BETWEEN = 12  # neighbouring frames of a film show nearly the same
FIRST_SEED = 1000  # far from the seeds that people try, so that every demo is a film that the model never saw


def main() -> None:
    """Write the video and the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--frames", type=int, default=3000, help="number of frames (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    n_held_out = arguments.frames // 5
    truth = write_video(arguments.out / "sim.mkv", labelled_frames(arguments.frames, arguments.frames - n_held_out))
    write_labels(arguments.out / "sim.slp", "sim.mkv", truth)
    print(f"{arguments.out}: {len(truth)} frames; held_out = [{len(truth) - n_held_out}, {len(truth) - 1}]")


def labelled_frames(n_frames: int, n_varied: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield image and true poses; the first `n_varied` frames are of films that stray from the default options."""
    for first in range(0, n_frames, FRAMES_PER_FILM):
        seed = FIRST_SEED + first // FRAMES_PER_FILM
        scene = SimScene(_varied(seed) if first < n_varied else SimOptions(seed=seed))
        for k in range(min(FRAMES_PER_FILM, n_frames - first)):
            yield scene.image(k * FRAMES_BETWEEN), scene.poses(k * FRAMES_BETWEEN)


def _varied(seed: int) -> SimOptions:
    rng = np.random.default_rng(seed)
    return SimOptions(
        seed=seed,
        n_animals=int(rng.choice([1, 2, 2, 2, 3])),
        noise_sd=float(rng.uniform(0.0, 8.0)),
        body_px=float(rng.uniform(52.0, 68.0)),
        invisible_fraction=float(rng.choice([0.0, 0.0, 0.2])),
    )


def write_video(
    path: Path, frames: Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]
) -> list[NDArray[np.float32]]:
    """Encode the images without loss and return the poses."""
    truth: list[NDArray[np.float32]] = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(50))
        stream.pix_fmt = "gray"
        for image, poses in frames:
            if not truth:
                stream.height, stream.width = image.shape
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
            truth.append(poses)
        container.mux(stream.encode())
    return truth


def write_labels(path: Path, video: str, truth: list[NDArray[np.float32]]) -> None:
    """Write the visible animals of every frame as user instances."""
    skeleton = sleap_io.Skeleton(
        nodes=list(NODE_NAMES),
        edges=[(NODE_NAMES[a], NODE_NAMES[b]) for a, b in EDGES],
        symmetries=[{NODE_NAMES[a], NODE_NAMES[b]} for a, b in SYMMETRIES],
        name="insect",
    )
    film = sleap_io.Video(filename=video, open_backend=False)
    frames = [
        sleap_io.LabeledFrame(
            video=film,
            frame_idx=index,
            instances=[
                sleap_io.Instance.from_numpy(animal.astype(np.float64), skeleton=skeleton)
                for animal in poses
                if np.isfinite(animal).any()
            ],
        )
        for index, poses in enumerate(truth)
    ]
    labels = sleap_io.Labels(labeled_frames=frames, videos=[film], skeletons=[skeleton])
    labels.save(str(path), embed=False, verbose=False)


if __name__ == "__main__":
    main()
