"""The simulated light: the share of an exposure that it lights, and the camera that sees it."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from camera_drivers.errors import CameraFailedError
from camera_drivers.light import LightLog, Spot
from camera_drivers.sim import SimCamera, SimOptions, SimScene
from camera_drivers.testing import check_camera

MS = 1_000_000


def edge(host_ms: float, on: bool, **changes: Any) -> str:
    fields = {"record": "edge", "host_ns": round(host_ms * MS), "device_us": 7, "channel": 0, "on": on}
    return json.dumps({**fields, "intensity": 0xFFFF if on else 0, "command_id": 1, **changes}) + "\n"


@pytest.mark.parametrize(
    ("lines", "exposure_ms", "share"),
    [
        ([], (0, 10), 0.0),
        ([edge(0, True)], (0, 10), 0.5),  # on at 5 with its delay of 5
        ([edge(0, True)], (5, 10), 1.0),
        ([edge(0, True)], (0, 5), 0.0),
        ([edge(0, True), edge(2, False)], (0, 10), 0.2),
        ([edge(0, True), edge(2, False)], (7, 10), 0.0),
        ([edge(0, True), edge(2, False), edge(3, True)], (0, 10), 0.4),
        ([edge(0, True, intensity=0x8000), edge(2, True)], (0, 10), 0.2 * 0x8000 / 0xFFFF + 0.3),
        ([edge(0, True, channel=1)], (0, 10), 0.0),
        (['{"record": "command", "type": "Heartbeat"}\n', edge(0, True)], (0, 10), 0.5),
        ([edge(0, True).rstrip("\n")], (0, 10), 0.0),  # not yet written to its end
    ],
    ids=["none", "half", "whole", "before", "short", "over", "two", "dimmer", "other channel", "commands", "torn"],
)
def test_the_share_of_an_exposure(tmp_path: Path, lines: list[str], exposure_ms: tuple[int, int], share: float) -> None:
    path = tmp_path / "edges.jsonl"
    log = LightLog(path, channel=0, delay_ns=5 * MS)
    path.write_text("".join(lines))
    assert log.share(exposure_ms[0] * MS, exposure_ms[1] * MS) == pytest.approx(share)


def test_the_log_is_followed_as_it_grows_and_what_was_there_before_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "edges.jsonl"
    path.write_text(edge(0, True))
    log = LightLog(path, channel=0, delay_ns=0)
    assert log.share(0, 10 * MS) == 0.0
    whole = edge(12, True)
    with path.open("a") as file:
        file.write(whole[:30])
        file.flush()
        assert log.share(10 * MS, 20 * MS) == 0.0
        file.write(whole[30:])
        file.flush()
        assert log.share(10 * MS, 20 * MS) == pytest.approx(0.8)
        file.write(edge(21, False))
    assert log.share(20 * MS, 30 * MS) == pytest.approx(0.1)
    assert log.share(30 * MS, 40 * MS) == 0.0


@pytest.mark.parametrize("line", ["[1]", "{", '{"record": "edge", "channel": 0}', edge(0, True, intensity="full")[:-1]])
def test_what_is_no_log_of_a_stimulator(tmp_path: Path, line: str) -> None:
    path = tmp_path / "edges.jsonl"
    log = LightLog(path, channel=0, delay_ns=0)
    path.write_text(line + "\n")
    expected = (
        f"sim: {path}: expected the log of a simulated stimulator, one JSON object a line with record, host_ns, "
        f"channel, on and intensity, got {line.encode()[:80]!r}"
    )
    with pytest.raises(CameraFailedError, match=f"^{re.escape(expected)}$"):
        log.share(0, MS)


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    log = LightLog(tmp_path, channel=0, delay_ns=0)
    with pytest.raises(CameraFailedError, match="cannot read the light's log: Is a directory"):
        log.share(0, MS)


def test_the_spot_lies_in_the_corner_and_saturates() -> None:
    image = np.full((64, 96), 100, np.uint8)
    spot = Spot(96, 64, level=80.0)
    spot.add(image, 0.5)
    lit = image != 100
    assert image[2 * spot.radius_px, 2 * spot.radius_px] == 140
    assert lit.sum() == np.count_nonzero(image == 140)
    assert lit[: 3 * spot.radius_px + 1, : 3 * spot.radius_px + 1].sum() == lit.sum() > 9
    spot.add(image, 1.0)
    spot.add(image, 1.0)
    assert image.max() == 255


@pytest.mark.alone
def test_the_camera_sees_the_light_in_the_frames_that_were_exposed_to_it(tmp_path: Path) -> None:
    path = tmp_path / "edges.jsonl"
    still = {"width_px": 96, "height_px": 96, "body_px": 20.0, "n_animals": 0, "noise_sd": 0.0}
    options = SimOptions(**still, frame_rate_hz=100.0, light_log_path=path, light_delay_ms=20.0, exposure_ms=4.0)
    dark = SimScene(options).image(0)
    corner = (slice(0, 12), slice(0, 12))
    with SimCamera(options) as camera:
        first = camera.grab(1.0)
        assert first is not None
        on_ns = first.timestamp_ns
        path.write_text(edge(on_ns / MS, True))
        shares = []
        for _ in range(6):
            frame = camera.grab(1.0)
            assert frame is not None
            added = frame.image.astype(float) - dark
            assert added[12:].max() == added[:, 12:].max() == 0.0
            shares.append((frame.frame_id, added[corner].max() / options.light_level))
        start_ns = camera._started_ns
    for frame_id, share in shares:
        exposed_ms = (start_ns + frame_id * 10 * MS - on_ns) / MS - 20.0
        assert share == pytest.approx(np.clip(exposed_ms / 4.0, 0.0, 1.0), abs=0.01)
    assert {share for _, share in shares} >= {0.0, 1.0}


def test_contract_with_a_light(tmp_path: Path) -> None:
    options = SimOptions(light_log_path=tmp_path / "edges.jsonl", frame_rate_hz=100.0)
    info = check_camera(SimCamera(options))
    assert not info.reproducible
    assert SimOptions.model_validate_json(options.model_dump_json()) == options


def test_frames_are_drawn_while_they_are_exposed(tmp_path: Path) -> None:
    """Asked for a frame that is not there yet, the camera draws it; once its time has come, it only adds the light."""
    options = SimOptions(frame_rate_hz=2.0, light_log_path=tmp_path / "edges.jsonl")
    with SimCamera(options) as camera:
        assert camera.grab(0.1) is not None
        assert camera.grab(0.0) is None
        assert camera._drawn_id == 1
        frame = camera.grab(1.0)
        assert frame is not None
        assert np.array_equal(frame.image, SimScene(options).image(1))
        assert frame.available_ns <= time.monotonic_ns()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"light_log_path": "edges.jsonl", "pace": "consumer"},
            'expected pace = "realtime" with light_log_path, since a stimulator works in real time',
        ),
        (
            {"exposure_ms": 20.0, "frame_rate_hz": 100.0},
            "expected exposure_ms of at most the frame interval of 10 ms, got 20 ms",
        ),
    ],
)
def test_wrong_options(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        SimOptions(**settings)
