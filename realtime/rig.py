"""Rig files: one TOML file a rig, read into strict models; every mistake is reported at once, with its path."""

import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import camera_drivers.registry
import models.registry
import triggers.registry
from camera_drivers.base import Camera
from models.base import PoseModel
from realtime.calibration import CalibrationError, load_calibration
from realtime.lookahead import LookAheadOptions
from realtime.plane import Plane
from realtime.recording import LogReadError, RecordingOptions
from realtime.recording.records import IntentRecord
from realtime.recording.stimuli import recorded_stimulus
from realtime.rules import RoleSpec, RuleSpec, ZoneSpec
from realtime.rules.errors import suggestion
from realtime.stimulus import LimitSpec, SafetyOptions, StimulusSpec, YokeSpec, impossible_stimuli
from realtime.tracking import EnrolmentOptions, TrackerOptions
from triggers.base import Trigger
from triggers.pulse import Pulse

ZOO_PREFIX = "zoo:"

Model = TypeVar("Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LoopOptions(_Section):
    """How the loop takes frames and what it does when something stops.

    Attributes:
        frames: `latest` = the freshest frame wins and the others are counted as skipped; `every` = no frame is skipped
            (files and simulations that wait for the loop).
        wait: `sleep` = the loop sleeps until the next frame; `spin` = it asks for it again and again, and so does the
            camera's process when a frame is due. A processor that slept takes up to twice as long for the next frame,
            so `spin` is faster; it takes one core whole, and is for computers with another one to spare.
        deadline_ms: A pose older than this never fires; it is logged as late.
        ring_frames: Frames that the shared ring between camera, loop and recorder holds.
        camera_lost_s: The session ends, outputs off, when no frame came for this long.
        when_recording_fails: `stop` ends the session, outputs off; `continue` goes on unrecorded.
    """

    frames: Literal["latest", "every"] = "latest"
    wait: Literal["sleep", "spin"] = "sleep"
    deadline_ms: float = Field(default=50.0, gt=0, le=10_000)
    ring_frames: int = Field(default=32, ge=4, le=4096)
    camera_lost_s: float = Field(default=2.0, gt=0, le=3600)
    when_recording_fails: Literal["stop", "continue"] = "stop"


class AnimalOptions(_Section):
    """Which landmarks give an animal its heading (from `back` to `front`) and its place (`centre`)."""

    front: str
    back: str
    centre: str


class CalibrationOptions(_Section):
    """Length scale of the image.

    Attributes:
        px_per_mm: px a mm, one for the whole picture; None where no rule uses mm.
        file: A file of `poseloop calibrate` instead: rules see levelled px. It is read when the rig is, and the rig's
            settings then have `px_per_mm` and `plane` in its place, so that a replay does not need the file.
        plane: How px are levelled, as a session's record has it; together with `px_per_mm`.
    """

    px_per_mm: float | None = Field(default=None, gt=0)
    file: str | None = None
    plane: Plane | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.file is not None and (self.px_per_mm is not None or self.plane is not None):
            other = "px_per_mm" if self.px_per_mm is not None else "plane"
            raise ValueError(f"expected either {other} or file, got both; remove one")
        if self.plane is not None and self.px_per_mm is None:
            raise ValueError("expected px_per_mm with plane, got none")
        return self


class _RigFile(_Section):
    """The file's shape; the sections that a driver owns are checked by the driver's own options."""

    camera: dict[str, Any]
    model: dict[str, Any]
    animal: AnimalOptions
    loop: LoopOptions = LoopOptions()
    tracker: TrackerOptions = TrackerOptions()
    calibration: CalibrationOptions = CalibrationOptions()
    identities: EnrolmentOptions | None = None
    lookahead: LookAheadOptions | None = None
    roles: dict[str, RoleSpec] = Field(default_factory=dict)
    zones: dict[str, ZoneSpec] = Field(default_factory=dict)
    rules: dict[str, RuleSpec] = Field(default_factory=dict)
    triggers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    stimuli: dict[str, StimulusSpec] = Field(default_factory=dict)
    limits: dict[str, dict[str, LimitSpec]] = Field(default_factory=dict)
    safety: SafetyOptions = SafetyOptions()
    recording: RecordingOptions = RecordingOptions()


@dataclass(frozen=True, slots=True)
class Choice:
    """A driver, engine or model kind that a rig names, with its checked options."""

    name: str
    options: BaseModel


@dataclass(frozen=True, slots=True)
class Rig:
    """One rig, complete and checked as far as that is possible without its hardware and its model.

    Attributes:
        path: The file that it was read from.
        settings: The file's content with every default filled in and every path absolute; `parse_rig` reads it again.
    """

    path: Path
    camera: Choice
    model: Choice
    animal: AnimalOptions
    loop: LoopOptions
    tracker: TrackerOptions
    calibration: CalibrationOptions
    identities: EnrolmentOptions | None
    lookahead: LookAheadOptions | None
    roles: Mapping[str, RoleSpec]
    zones: Mapping[str, ZoneSpec]
    rules: Mapping[str, RuleSpec]
    triggers: Mapping[str, Choice]
    stimuli: Mapping[str, StimulusSpec]
    limits: Mapping[tuple[str, int], LimitSpec]
    safety: SafetyOptions
    recording: RecordingOptions
    settings: Mapping[str, Any] = field(repr=False)


class RigError(ValueError):
    """A rig file with mistakes; `mistakes` lists all of them, one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load_rig(path: Path) -> Rig:
    """Read a rig file.

    Raises:
        RigError: The file is missing, is not TOML, or has mistakes; all of them are listed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RigError([f"{path}: cannot read the rig file: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise RigError([f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise RigError([f"{path}: not valid TOML: {error}"]) from error
    return parse_rig(data, path)


def parse_rig(data: Mapping[str, Any], path: Path) -> Rig:
    """Check a rig's content; relative paths in it are taken from the folder of `path`.

    Raises:
        RigError: It has mistakes; all of them are listed.
    """
    mistakes = _Mistakes(path)
    sections = mistakes.validate(_RigFile, data, "$")
    base = path.parent
    camera = _driver_section(data.get("camera"), "driver", camera_drivers.registry.load, base, "$.camera", mistakes)
    model = _driver_section(data.get("model"), "kind", models.registry.load, base, "$.model", mistakes)
    outputs: dict[str, Choice] = {}
    named = data.get("triggers")
    for name, section in named.items() if isinstance(named, Mapping) else ():
        choice = _driver_section(section, "driver", triggers.registry.load, base, f"$.triggers.{name}", mistakes)
        if choice is not None:
            outputs[name] = choice
    if sections is not None:
        _check_references(sections, mistakes)
        sections = sections.model_copy(update={"calibration": _calibrated(sections.calibration, base, mistakes)})
        sections = sections.model_copy(update={"stimuli": _with_yoked_events(sections.stimuli, base, mistakes)})
    if mistakes.lines or sections is None or camera is None or model is None:
        raise RigError(mistakes.lines)
    return Rig(
        path=path,
        camera=camera,
        model=model,
        animal=sections.animal,
        loop=sections.loop,
        tracker=sections.tracker,
        calibration=sections.calibration,
        identities=sections.identities,
        lookahead=sections.lookahead,
        roles=sections.roles,
        zones=sections.zones,
        rules=sections.rules,
        triggers=outputs,
        stimuli=sections.stimuli,
        limits=_limits(sections),
        safety=sections.safety,
        recording=sections.recording,
        settings=_settings(sections, camera, model, outputs),
    )


def _settings(sections: _RigFile, camera: Choice, model: Choice, outputs: Mapping[str, Choice]) -> dict[str, Any]:
    settings = sections.model_dump(mode="json", exclude_none=True)
    settings["camera"] = {"driver": camera.name, **camera.options.model_dump(mode="json", exclude_none=True)}
    settings["model"] = {"kind": model.name, **model.options.model_dump(mode="json", exclude_none=True)}
    settings["triggers"] = {
        name: {"driver": choice.name, **choice.options.model_dump(mode="json", exclude_none=True)}
        for name, choice in outputs.items()
    }
    return settings


class _Mistakes:
    """Collects one line a mistake: file, path, expected against got."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        self.lines.append(f"{self._path}: {where}: {what}")

    def validate(self, model: type[Model], data: object, where: str) -> Model | None:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for detail in error.errors():
                location = where + "".join(f".{part}" for part in detail["loc"])
                self.add(location, _explain(detail["type"], detail["msg"], detail.get("input"), detail["loc"], model))
        return None


def _explain(kind: str, message: str, got: object, location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return f"unknown key{_hint(str(location[-1]), _known_keys(model, location[:-1]))}"
    if kind == "missing":
        return "expected this key, got nothing"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    expected = message.removeprefix("Input should be ")
    shown = f"{got!r}" if isinstance(got, str | int | float | bool | list) else type(got).__name__
    return f"expected {expected}, got {shown} ({type(got).__name__})"


def _known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    here: type[BaseModel] | None = model
    for part in location:
        if here is None:
            return []
        if str(part) not in here.model_fields:
            continue  # the name of a rule, trigger or role: a key of the user's own
        annotation = here.model_fields[str(part)].annotation
        here = next(iter(_models_in(annotation)), None)
    return list(here.model_fields) if here is not None else []


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


def _hint(got: str, known: list[str]) -> str:
    """Return the known name that was probably meant, or all of them."""
    return suggestion(got, tuple(known)) or (f"; there is {', '.join(sorted(known))}" if known else "")


def _driver_section(
    section: object,
    key: str,
    load: Callable[[str], type[Camera] | type[PoseModel] | type[Trigger]],
    base: Path,
    where: str,
    mistakes: _Mistakes,
) -> Choice | None:
    if not isinstance(section, Mapping):
        return None  # the shape of the file has been reported already
    name = section.get(key)
    if not isinstance(name, str):
        mistakes.add(f"{where}.{key}", f"expected a name, got {'nothing' if name is None else repr(name)}")
        return None
    try:
        model = load(name).Options
    except (LookupError, ImportError) as error:
        mistakes.add(f"{where}.{key}", str(error.args[0] if error.args else error))
        return None
    values = {item: value for item, value in section.items() if item != key}
    options = mistakes.validate(model, _with_absolute_paths(model, values, base), where)
    return None if options is None else Choice(name, options)


def _with_absolute_paths(model: type[BaseModel], values: dict[str, Any], base: Path) -> dict[str, Any]:
    def absolute(name: str, value: object) -> object:
        known = model.model_fields.get(name)
        if known is None or not isinstance(value, str) or value.startswith(ZOO_PREFIX):
            return value
        is_path = known.annotation is Path or Path in get_args(known.annotation)
        return str((base / value).resolve()) if is_path else value

    return {name: absolute(name, value) for name, value in values.items()}


def _check_references(sections: _RigFile, mistakes: _Mistakes) -> None:
    def known(where: str, kind: str, name: str, names: Collection[str]) -> None:
        if name not in names:
            mistakes.add(where, f"no {kind} {name!r}{_hint(name, list(names))}")

    for name, stimulus in sections.stimuli.items():
        if stimulus.rule is not None:
            known(f"$.stimuli.{name}.rule", "rule", stimulus.rule, sections.rules)
        for trigger in stimulus.triggers:
            known(f"$.stimuli.{name}.triggers", "trigger", trigger, sections.triggers)
    for trigger, channels in sections.limits.items():
        known(f"$.limits.{trigger}", "trigger", trigger, sections.triggers)
        for channel in channels:
            if not channel.isascii() or not channel.isdigit():
                mistakes.add(f"$.limits.{trigger}.{channel}", f"expected a channel number, got {channel!r}")
    for name, reason in impossible_stimuli(sections.stimuli, _limits(sections)).items():
        mistakes.add(f"$.stimuli.{name}", reason)


def _calibrated(options: CalibrationOptions, base: Path, mistakes: _Mistakes) -> CalibrationOptions:
    """Return the calibration with the content of its file in the file's place."""
    if options.file is None:
        return options
    try:
        found = load_calibration((base / options.file).resolve())
        return CalibrationOptions(px_per_mm=found.px_per_mm, plane=found.plane())
    except CalibrationError as error:
        mistakes.add("$.calibration.file", str(error))
        return options


def _with_yoked_events(stimuli: Mapping[str, StimulusSpec], base: Path, mistakes: _Mistakes) -> dict[str, StimulusSpec]:
    """Return the stimuli, what their masters did filled in where it is not there yet."""
    found = dict(stimuli)
    for name, spec in stimuli.items():
        if spec.yoked is None or spec.yoked.events is not None:
            continue
        try:
            found[name] = spec.model_copy(update={"yoked": _yoked(name, spec, spec.yoked, base)})
        except (OSError, LogReadError, LookupError, ValueError) as error:
            mistakes.add(f"$.stimuli.{name}.yoked", str(error))
    return found


def _yoked(name: str, spec: StimulusSpec, yoke: YokeSpec, base: Path) -> YokeSpec:
    session = (base / yoke.session).resolve()
    recorded = recorded_stimulus(session, yoke.stimulus or name)
    if recorded.sent is not None:
        sent, ours = _in_words(recorded.sent), _in_words(spec.pulse())
        if sent != ours:
            raise ValueError(f"expected the pulse of the session {session}, {sent}, got {ours}")
    return yoke.model_copy(update={"session": str(session), "events": recorded.events})


def _in_words(pulse: Pulse | IntentRecord) -> str:
    train = "" if pulse.train_hz is None else f", {pulse.train_hz!r} Hz of {pulse.width_us} us"
    return f"{pulse.duration_us} us at {pulse.intensity!r}{train}"


def _limits(sections: _RigFile) -> dict[tuple[str, int], LimitSpec]:
    return {
        (trigger, int(channel)): limit
        for trigger, channels in sections.limits.items()
        for channel, limit in channels.items()
        if channel.isascii() and channel.isdigit()
    }
