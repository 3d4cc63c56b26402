"""Reading `train.toml`: the profile under what the file says, and every mistake at once."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models.errors import TrainingInputError
from models.training.config import TRAININGS, AnyTraining
from models.training.profiles import PROFILES


def load_config(path: Path) -> AnyTraining:
    """Read a training configuration; its relative paths are relative to the file.

    Raises:
        TrainingInputError: The file cannot be read, or has unknown, missing or wrong keys (all are named at once).
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingInputError(f"{path}: expected a TOML file that can be read, got: {error}") from error
    type_ = document.get("type")
    if not isinstance(type_, str) or type_ not in TRAININGS:
        got = "none" if type_ is None else repr(type_)
        raise TrainingInputError(f"{path}: $.type: expected one of {', '.join(TRAININGS)}, got {got}")
    schema = TRAININGS[type_]
    try:
        config = schema.model_validate(_with_profile(document, type_))
    except ValidationError as error:
        raise TrainingInputError("\n".join(f"{path}: {_message(e, schema)}" for e in error.errors())) from error
    data = config.data.model_copy(
        update={
            "labels": path.parent / config.data.labels,
            "video": None if config.data.video is None else path.parent / config.data.video,
        }
    )
    start_from = None if config.start_from is None else path.parent / config.start_from
    return config.model_copy(update={"data": data, "start_from": start_from})


def _with_profile(document: dict[str, Any], type_: str) -> dict[str, Any]:
    """Return the document with the profile's keys where it gives none itself."""
    profile = document.get("profile")
    merged = dict(document)
    for section, defaults in PROFILES.get(profile, {}).get(type_, {}).items() if isinstance(profile, str) else ():
        given = document.get(section, {})
        merged[section] = {**defaults, **given} if isinstance(given, dict) else given
    return merged


def _message(error: ErrorDetails, schema: type[AnyTraining]) -> str:
    where = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: expected no such key; known are {', '.join(_keys(error['loc'][:-1], schema))}"
        case "missing":
            return f"{where}: expected a value, got none"
        case "value_error":
            return f"{where}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{where}: {error['msg'].replace('Input should be', 'expected')}, got {error['input']!r}"


def _keys(location: tuple[int | str, ...], schema: Any) -> list[str]:
    for part in location:
        schema = schema.model_fields[part].annotation
    fields: Mapping[str, object] = schema.model_fields
    return list(fields)
