"""The file that a benchmark leaves if it is asked to: how it is asked for, and how it is written."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Let a person name the file, as `json` of the arguments; None for none."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")


def write_json(result: Mapping[str, Any], file: Path | None) -> None:
    """Write a result there, for people too; nowhere if there is no file."""
    if file is not None:
        file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
