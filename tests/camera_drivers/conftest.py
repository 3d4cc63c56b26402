"""Real video files for the tests, encoded on the spot."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

Images = Sequence[NDArray[np.uint8]]


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """Encode images losslessly, or with `crf`; returns the file."""

    def write(name: str, images: Images, *, full_range: bool = True, times_ms: Sequence[int] = (), **kind: Any) -> Path:
        path = tmp_path / name
        pixel_format = kind.get("pixel_format", "gray")
        with av.open(str(path), "w", options=kind.get("container", {})) as container:
            stream = container.add_stream(kind.get("codec", "libx264"))
            stream.options = {
                "preset": "ultrafast",
                "g": "10",
                **({"crf": kind["crf"]} if "crf" in kind else {"qp": "0"}),
            }
            context = stream.codec_context
            context.height, context.width = images[0].shape[:2]
            context.pix_fmt, context.time_base = pixel_format, Fraction(1, 1000)
            context.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
            for k, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="gray" if image.ndim == 2 else "rgb24")
                if pixel_format == "yuv420p":  # the luma as it is, without a conversion between ranges
                    planes = np.full((image.shape[0] * 3 // 2, image.shape[1]), 128, np.uint8)
                    planes[: image.shape[0]] = image
                    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.color_range = context.color_range
                frame.pts, frame.time_base = (times_ms[k] if times_ms else 10 * k), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def noise_images() -> list[NDArray[np.uint8]]:
    """30 gray images of 64 × 48 px that no two frames share."""
    return list(np.random.default_rng(0).integers(0, 256, (30, 48, 64), np.uint8))
