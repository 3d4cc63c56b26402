"""The model folder of a training: what is kept there, and whether a training may go on in it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import TrainingInputError
from models.exported import model_folder
from models.spec import GRAPH_FILE, REFERENCE_FILE, SPEC_FILE, ModelSpec, sha256_of
from models.training.config import AnyTraining, Role

TRAINING = "training"
EVALUATION_FILE = "evaluation.json"
CONFIG_FILE = "train.toml"
HISTORY_FILE = "history.json"
LOSS_FILE = "loss.svg"
_SETTINGS_FILE = "settings.json"
_RESULTS = (SPEC_FILE, GRAPH_FILE, REFERENCE_FILE, EVALUATION_FILE, CONFIG_FILE)


def prepare(out: Path, config: AnyTraining, config_path: Path, *, resume: bool, overwrite: bool) -> Path:
    """Return the subfolder for checkpoints and pictures, ready for this training.

    Args:
        out: The model folder.
        config: What is going to be learnt.
        config_path: Its file; a copy is put into `out`.
        resume: Go on with the training that is there, if there is one.
        overwrite: Remove the one that is there.

    Raises:
        TrainingInputError: There is one and nothing was said about it, or the one to go on with has other settings.
    """
    folder = out / TRAINING
    settings = folder / _SETTINGS_FILE
    wanted = _settings(config)
    there = [path for path in (folder, *(out / name for name in _RESULTS if name != CONFIG_FILE)) if path.exists()]
    if overwrite:
        for path in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif resume and settings.exists():
        _check_same(json.loads(settings.read_text(encoding="utf-8")), wanted, config_path, out)
    elif there:
        raise TrainingInputError(
            f"{out}: expected a new folder, got one with {there[0].name} in it; go on with the training there with "
            "--resume, or replace it with --overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    if config_path.resolve() != (out / CONFIG_FILE).resolve():
        shutil.copyfile(config_path, out / CONFIG_FILE)
    return folder


def checkpoint_of(folder: Path, role: Role) -> Path:
    """Return where a network's checkpoint is."""
    return folder / f"{role}.checkpoint.npz"


def start_of(model: Path) -> dict[str, str]:
    """Return what is known of a model that a training starts from: its name and the SHA-256 of its graph."""
    return {"model": model.name, "graph_sha256": ModelSpec.load(model_folder(model)).graph.sha256}


def _settings(config: AnyTraining) -> dict[str, Any]:
    """Return what a training depends on; where the files lie is none of it, nor is what only the export asks for."""
    said = config.model_dump(mode="json", exclude={"export": True, "start_from": True, "data": {"labels", "video"}})
    start = {"start": start_of(config.start_from)} if config.start_from else {}
    return {**said, "labels_sha256": sha256_of(config.data.labels), **start}


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path, out: Path) -> None:
    old, new = dict(_leaves(before)), dict(_leaves(now))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        said = ", ".join(f"{key} = {json.dumps(old.get(key))} (now {json.dumps(new.get(key))})" for key in changed)
        raise TrainingInputError(
            f"{path}: expected the settings that the training in {out} was begun with: {said}; put them back, or "
            "start again with --overwrite"
        )


def _leaves(table: Mapping[str, Any], above: str = "$") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found += _leaves(value, f"{above}.{key}") if isinstance(value, dict) else [(f"{above}.{key}", value)]
    return found
