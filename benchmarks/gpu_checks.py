"""Everything that needs a GPU, in one go: the engines' tests on it, and the table of latencies.

Run it on every kind of machine that the program is meant for: `python -m benchmarks.gpu_checks`. It writes
`gpu_engine_tests.json` and `model_latency_gpu.json` into `benchmarks/results/`, and fails if a test fails or if no
engine can use a GPU.

Not run so far: the project was written without a GPU. What is tested is that it refuses to run without one.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

from benchmarks.json_file import write_json
from benchmarks.model_latency import CAREFUL, QUICK, all_settings, as_text, measure
from models.engines.options import EngineOptions
from models.engines.registry import installed_engines
from models.spec import ModelType
from realtime.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def run_tests(selection: Sequence[str] = ("tests/models/engines",)) -> dict[str, Any]:
    """Run the engines' tests and return, JSON-able, how many passed and the names of those that did not."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *selection]
        exit_code = subprocess.run(command, cwd=ROOT, check=False).returncode
        cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - pytest's own
    failed = [
        case.attrib["name"] for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [case.attrib["name"] for case in cases if case.find("skipped") is not None]
    return {
        "exit_code": exit_code,
        "n_passed": len(cases) - len(failed) - len(skipped),
        "failed": failed,
        "skipped": skipped,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_checks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    given = parser.parse_args(arguments)
    tried = installed_engines()
    on_gpu = [engine for engine in tried if engine.options.device == "cuda"]
    if not any(engine.works for engine in on_gpu):
        for engine in on_gpu:
            print(f"{engine.options.title}: {engine.text}", file=sys.stderr)
        return 1
    engines = [*(engine for engine in tried if engine.options == EngineOptions()), *on_gpu]
    tests = run_tests() | {"engines": {engine.options.title: engine.text for engine in engines}}
    write_json({**tests, "machine": describe_machine()}, RESULTS / "gpu_engine_tests.json")
    settings = [
        *all_settings(get_args(ModelType), sizes_px=(512, 1024), animals=(2,), batches=(1,)),
        *all_settings(["top_down"], sizes_px=(1024,), animals=(1, 4, 8), batches=(1,)),
        *all_settings(["top_down"], sizes_px=(1024,), animals=(2,), batches=(4, 16)),
    ]
    result = measure(settings, engines, QUICK if given.quick else CAREFUL)
    write_json(result, RESULTS / "model_latency_gpu.json")
    print(as_text(result))
    return int(tests["exit_code"] != 0)


if __name__ == "__main__":
    sys.exit(main())
