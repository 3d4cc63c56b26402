"""The registry: every name leads to a driver, and a wrong one is told what there is."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from pydantic import BaseModel

from camera_drivers import registry
from camera_drivers.base import Camera


@pytest.mark.parametrize("name", registry.DRIVERS)
def test_every_name_leads_to_a_driver(name: str) -> None:
    driver = registry.load(name)
    assert issubclass(driver, Camera)
    assert issubclass(driver.Options, BaseModel)
    config = driver.Options.model_config
    assert (config["extra"], config["frozen"], config["strict"]) == ("forbid", True, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vidoe", "expected a camera driver (sim, video, session, opencv), got 'vidoe'; did you mean 'video'?"),
        ("basler", "expected a camera driver (sim, video, session, opencv), got 'basler'"),
    ],
)
def test_unknown_name(name: str, message: str) -> None:
    with pytest.raises(LookupError) as caught:
        registry.load(name)
    assert str(caught.value) == message


def test_another_package_adds_a_driver_but_replaces_none(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [
        EntryPoint("mine", "camera_drivers.sim:SimCamera", registry.GROUP),
        EntryPoint("sim", "nowhere:Nothing", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: theirs if group == registry.GROUP else [])
    assert registry.names() == ("sim", "video", "session", "opencv", "mine")
    assert registry.load("mine") is registry.load("sim")


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = "import sys, camera_drivers.registry; print(sorted({'cv2', 'av', 'numba'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"
