"""`poseloop check`: tries everything that a rig names and reports all that is wrong, not the first thing."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from camera_drivers.base import CameraInfo
from camera_drivers.errors import CameraError
from models.base import PoseModel
from models.errors import ModelError
from realtime.assemble import (
    check_parity,
    fitting_plane,
    load_model,
    make_camera,
    make_lookahead,
    make_rules,
    open_trigger,
)
from realtime.rig import Rig, RigError, load_rig
from triggers.base import TriggerInfo
from triggers.errors import TriggerError

FRAME_TIMEOUT_S = 2.0
FREE_BYTES = 2_000_000_000

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its level, what it is, and what was seen."""

    level: Level
    subject: str
    text: str


def check_rig(path: Path) -> list[Finding]:
    """Check a rig file, then the model, rules, camera, triggers and host that it needs.

    Outputs are opened, identified and switched off; nothing fires.
    """
    try:
        rig = load_rig(path)
    except RigError as error:
        return [Finding("error", "rig", line) for line in error.mistakes]
    findings = [Finding("ok", "rig", f"{path}: {len(rig.rules)} rules, {len(rig.stimuli)} stimuli")]
    info = _attempt(findings, "camera", lambda: _check_camera(rig, findings))
    if info is not None:
        _attempt(findings, "calibration", lambda: _check_calibration(rig, info, findings))
    _attempt(findings, "model", lambda: _check_model(rig, info, findings))
    for name in rig.triggers:
        _attempt(findings, f"trigger {name}", lambda name=name: _check_trigger(rig, name, findings))  # type: ignore[misc]
    findings.extend(_unused(rig))
    findings.extend(_host())
    return findings


def _attempt(findings: list[Finding], subject: str, look: Callable[[], CameraInfo | None]) -> CameraInfo | None:
    try:
        return look()
    except RigError as error:
        findings.extend(Finding("error", subject, line) for line in error.mistakes)
    except (CameraError, ModelError, TriggerError) as error:
        findings.append(Finding("error", subject, str(error)))
    return None


def _check_camera(rig: Rig, findings: list[Finding]) -> CameraInfo:
    with closing(make_camera(rig)) as camera:
        info = camera.open()
        frame = camera.grab(FRAME_TIMEOUT_S)
    seen = f"{rig.camera.name}: {info.width}×{info.height} px"
    if frame is None:
        findings.append(Finding("error", "camera", f"{seen}, but no frame came within {FRAME_TIMEOUT_S:g} s"))
    else:
        rate = "" if info.frame_rate_hz is None else f", {info.frame_rate_hz:g} frames/s"
        findings.append(Finding("ok", "camera", f"{seen}{rate}"))
    return info


def _check_calibration(rig: Rig, info: CameraInfo, findings: list[Finding]) -> None:
    plane = fitting_plane(rig, info.width, info.height)
    if plane is None:
        return
    unseen = float(np.isnan(plane.levelled(plane.grid())[:, 0]).mean())
    findings.append(Finding("ok", "calibration", f"levelled, {rig.calibration.px_per_mm:.4f} px/mm"))
    if unseen > 0:
        findings.append(
            Finding(
                "warning",
                "calibration",
                f"{unseen:.0%} of the picture lies beyond the plane's horizon or where the lens' distortion folds "
                "back; for rules an animal is not seen there",
            )
        )


def _check_model(rig: Rig, info: CameraInfo | None, findings: list[Finding]) -> None:
    with closing(load_model(rig)) as model:
        make_rules(rig, model)
        make_lookahead(rig, model)
        if info is not None:
            model.warm_up(info.height, info.width, info.channels)
        engine = model.source.get("engine")
        runs = f", {engine}" if engine else ""
        findings.append(Finding("ok", "model", f"{rig.model.name}: {len(model.skeleton.nodes)} nodes{runs}"))
        _attempt(findings, "parity", lambda: _check_parity(rig, model, findings))


def _check_parity(rig: Rig, model: PoseModel, findings: list[Finding]) -> None:
    parity = check_parity(rig, model, fires=bool(rig.triggers))
    if not parity["checked"]:
        level: Level = "warning" if rig.model.name == "exported" else "ok"
        findings.append(Finding(level, "parity", f"not checked: {parity['reason']}"))
        return
    text = (
        f"{parity['n_points']} points of {parity['n_images']} reference images: median offset "
        f"{parity['offset_x_px']:+.3f}, {parity['offset_y_px']:+.3f} px, p99 {parity['p99_px']:.3f} px, "
        f"tolerance {parity['tolerance_px']:g} px"
    )
    findings.append(Finding("ok", "parity", text))


def _check_trigger(rig: Rig, name: str, findings: list[Finding]) -> None:
    with ExitStack() as opened:
        _, info = open_trigger(rig.triggers[name], opened)
    findings.extend(_safety(f"trigger {name}", info))


def _safety(subject: str, info: TriggerInfo) -> list[Finding]:
    """Return what a trigger tells of itself, and a warning for each safeguard that it lacks."""
    acknowledges = "acknowledges every command" if info.acknowledges else "acknowledges nothing"
    dead_man = "no dead-man switch" if info.dead_man_ms is None else f"dead-man switch after {info.dead_man_ms} ms"
    findings = [Finding("ok", subject, f"{info.driver} at {info.address}: {acknowledges}, {dead_man}")]
    if not info.acknowledges:
        lost = "this device does not say what it did; a command that is lost or refused goes unnoticed"
        findings.append(Finding("warning", subject, f"{info.address}: {lost}"))
    if info.dead_man_ms is None:
        stays = (
            "this device does not switch off by itself; what is on when the loop dies ends when it was to end, or never"
        )
        findings.append(Finding("warning", subject, f"{info.address}: {stays}"))
    return findings


def _unused(rig: Rig) -> list[Finding]:
    ruled = {stimulus.rule for stimulus in rig.stimuli.values()}
    wired = {trigger for stimulus in rig.stimuli.values() for trigger in stimulus.triggers}
    return [
        *(Finding("warning", f"rule {name}", "no stimulus listens to it") for name in rig.rules if name not in ruled),
        *(Finding("warning", f"trigger {name}", "no stimulus uses it") for name in rig.triggers if name not in wired),
    ]


def _host() -> list[Finding]:
    findings = []
    free = shutil.disk_usage(Path.cwd()).free
    if free < FREE_BYTES:
        findings.append(Finding("warning", "disk", f"expected 2 GB free for recordings, got {free / 1e9:.1f} GB"))
    if (os.cpu_count() or 1) < 2:
        findings.append(
            Finding("warning", "host", "expected 2 or more cores (loop, camera and recorder are processes), got 1")
        )
    return findings
