"""The project as it is installed and described: names, commands, files."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
PACKAGES = ("realtime", "camera_drivers", "models", "triggers")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_common_words_that_we_import_are_ours_alone(package):
    assert set(importlib.metadata.packages_distributions().get(package, ["poseloop"])) == {"poseloop"}


def test_the_command_is_installed():
    scripts = importlib.metadata.entry_points(group="console_scripts", name="poseloop")
    assert {script.value for script in scripts} == {"realtime.cli:main"}


def test_the_top_level_is_what_it_is():
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    top = {Path(name).parts[0] for name in tracked.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        "LICENSE",
        "README.md",
        "benchmarks",
        "camera_drivers",
        "models",
        "pyproject.toml",
        "realtime",
        "rigs",
        "tests",
        "triggers",
    }


def test_an_install_without_a_checkout_has_the_rigs():
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "rigs" in setuptools["packages"]["find"]["include"]
    assert setuptools["package-data"]["rigs"] == ["*.toml"]


def test_the_base_install_has_no_tensorflow_and_starts_without_it():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if name.startswith(("tensorflow", "keras", "onnx>", "h5py"))]
    heavy = "{'tensorflow', 'keras', 'onnx', 'h5py', 'sleap_io', 'typer', 'rich'}"
    code = f"import sys, realtime.live; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_path_in_the_readme_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / path).exists(), path
    for rig in re.findall(r"rigs/\w+\.toml", README):
        assert (REPOSITORY / rig).exists(), rig


def test_every_command_in_the_readme_is_one():
    commands = set(re.findall(r"\bposeloop ([a-z-]+)\b", " ".join(re.findall(r"```sh\n(.*?)```", README, re.S))))
    help_command = [sys.executable, "-m", "realtime.cli", "--help"]
    listed = subprocess.run(help_command, capture_output=True, text=True, check=True)
    assert commands
    assert all(re.search(rf"\b{command}\b", listed.stdout) for command in commands)
