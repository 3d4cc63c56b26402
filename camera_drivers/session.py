"""A recorded session as a camera: the same frames with the same ids and times."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.decoding import VideoReader
from camera_drivers.errors import CameraFailedError, CameraNotOpenError
from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLog, LoggedFrame, read_frame_log
from camera_drivers.sim import SimOptions, SimScene
from camera_drivers.video import sha256_of

DESCRIPTION_FILE = "session.json"
FRAMES_FILE = "frames.log"
VIDEO_FILE = "frames.mkv"

Image = NDArray[np.uint8]


class TakenFrame(NamedTuple):
    """What a frame's own record says of it; the fields are those of `Frame`."""

    frame_id: int
    timestamp_ns: int
    available_ns: int
    device_timestamp_ns: int | None


class SessionOptions(BaseModel):
    """Settings of the session driver.

    Attributes:
        path: The session folder.
        frame_ids: Deliver these frames of the frame log only, in this order, ascending; None for all.
        taken: Deliver these frames instead, ascending, with the times that the loop saw: the frame log, written on the
            other side of the ring, has another `available_ns` for a file's frames, and it lacks those that the camera
            overwrote before a recorder without a processor came to them. It is asked for the place in the video alone.
        images: Where pictures come from: "source" = produced again from what the camera was (a simulation, a video
            file), "video" = the session's own video, "none" = black.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: Annotated[Path, Field(strict=False)]
    frame_ids: tuple[int, ...] | None = None
    taken: tuple[TakenFrame, ...] | None = None
    images: Literal["source", "video", "none"] = "source"


class SessionCamera(Camera):
    """Delivers the frames of a session folder as fast as they are taken."""

    Options: ClassVar[type[BaseModel]] = SessionOptions

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._frames: list[LoggedFrame] = []
        self._next = 0
        self._picture: Callable[[LoggedFrame], Image] | None = None
        self._reader: VideoReader | None = None

    def open(self) -> CameraInfo:
        """Read the folder and find the pictures.

        Raises:
            CameraNotOpenError: It is no session folder, a wanted frame is not in it, or the pictures' source is
                missing or has changed.
        """
        self._next = 0
        recorded = self._recorded_info()
        self._frames = self._wanted(read_frame_log(self._options.path / FRAMES_FILE))
        self._picture = self._find_pictures(recorded)
        return replace(
            recorded,
            n_frames=len(self._frames),
            reproducible=False,
            source={"driver": "session", "path": str(self._options.path.resolve()), "images": self._options.images},
        )

    def grab(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - a file does not keep one waiting
        """Return the next frame.

        Raises:
            CameraFailedError: The pictures' file is damaged or too short.
        """
        if self._picture is None:
            raise CameraFailedError(f"{self._options.path}: expected an open session, got grab before open")
        if self.ended:
            return None
        frame = self._frames[self._next]
        image = self._picture(frame).view()
        image.flags.writeable = False
        self._next += 1
        return Frame(frame.frame_id, frame.timestamp_ns, frame.available_ns, frame.device_timestamp_ns, image)

    @property
    def ended(self) -> bool:
        """True once the last frame has been delivered."""
        return self._next >= len(self._frames)

    @property
    def waits_for_consumer(self) -> bool:
        """True: no frame of a recording may be skipped."""
        return True

    def close(self) -> None:
        """Close the pictures' file."""
        self._picture = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _recorded_info(self) -> CameraInfo:
        path = self._options.path / DESCRIPTION_FILE
        try:
            return CameraInfo(**json.loads(path.read_text(encoding="utf-8"))["camera"])
        except OSError as error:
            raise CameraNotOpenError(
                f"{self._options.path}: expected a session folder, cannot read its {DESCRIPTION_FILE}: {error.strerror}"
            ) from error
        except (ValueError, LookupError, TypeError) as error:
            raise CameraNotOpenError(f"{path}: expected the camera of a session under $.camera, got none") from error

    def _wanted(self, log: FrameLog) -> list[LoggedFrame]:
        options = self._options
        row_of = {frame_id: row for row, frame_id in enumerate(log.frame_ids.tolist())}
        if options.taken is not None:
            rows = [row_of.get(frame.frame_id) for frame in options.taken]
            indices = [None if row is None else log[row].video_index for row in rows]
            return [LoggedFrame(*frame, index) for frame, index in zip(options.taken, indices, strict=True)]
        frame_ids = tuple(row_of) if options.frame_ids is None else options.frame_ids
        missing = [frame_id for frame_id in frame_ids if frame_id not in row_of]
        if missing:
            raise CameraNotOpenError(
                f"{options.path / FRAMES_FILE}: expected frame {missing[0]}, got a log of {len(log)} frames without it"
            )
        return [log[row_of[frame_id]] for frame_id in frame_ids]

    def _find_pictures(self, info: CameraInfo) -> Callable[[LoggedFrame], Image]:
        if self._options.images == "none":
            shape = (info.height, info.width) if info.channels == 1 else (info.height, info.width, info.channels)
            black = np.zeros(shape, np.uint8)
            return lambda _: black
        if self._options.images == "video":
            return self._from_recorded_video(info)
        if info.source.get("driver") == "sim":
            return self._from_simulation(info.source)
        if info.source.get("driver") == "video":
            return self._from_source_video(info.source)
        raise CameraNotOpenError(
            f"{self._options.path}: expected a camera whose frames can be produced again (sim, video), got "
            f'{info.source.get("driver")!r}; use images = "video" or "none"'
        )

    def _from_simulation(self, source: Mapping[str, Any]) -> Callable[[LoggedFrame], Image]:
        scene = SimScene(SimOptions.model_validate_json(json.dumps(source["options"])))
        buffer = np.empty((scene.options.height_px, scene.options.width_px), np.uint8)
        return lambda frame: scene.image(frame.frame_id, buffer)

    def _from_source_video(self, source: Mapping[str, Any]) -> Callable[[LoggedFrame], Image]:
        path = Path(source["path"])
        if not path.is_file():
            raise CameraNotOpenError(
                f"{self._options.path}: the recorded frames came from {path}, which is missing; put it back"
            )
        n_bytes = path.stat().st_size
        if n_bytes != source["size_bytes"] or sha256_of(path) != source["sha256"]:
            raise CameraNotOpenError(
                f"{self._options.path}: the recorded frames came from {path}, which has changed since: expected "
                f"{source['size_bytes']} bytes with SHA-256 {source['sha256']}, got {n_bytes} bytes"
            )
        self._reader = VideoReader(path)
        return lambda frame: self._decode(frame.frame_id)

    def _from_recorded_video(self, info: CameraInfo) -> Callable[[LoggedFrame], Image]:
        for frame in self._frames:
            if frame.video_index is None:
                raise CameraNotOpenError(
                    f"{self._options.path}: expected every frame in {VIDEO_FILE}, "
                    f"got frame {frame.frame_id} that is not there"
                )
        self._reader = VideoReader(self._options.path / VIDEO_FILE, info.channels)
        return lambda frame: self._decode(-1 if frame.video_index is None else frame.video_index)

    def _decode(self, index: int) -> Image:
        """Decode on from where the file stands: every frame depends on those before it."""
        reader = self._reader
        if reader is None or index < reader.n_read:
            raise CameraFailedError(f"{self._options.path}: expected frames in ascending order, got {index} too late")
        reader.skip_to(index)
        decoded = next(reader, None)
        if decoded is None:
            raise CameraFailedError(f"{reader.path}: expected a frame {index}, got a video of {reader.n_read} frames")
        return decoded.image
