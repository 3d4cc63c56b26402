import pytest
from pydantic import BaseModel

from triggers import registry
from triggers.base import Trigger


@pytest.mark.parametrize("name", registry.DRIVERS)
def test_every_driver_can_be_loaded_and_has_strict_frozen_options(name):
    driver = registry.load(name)
    assert issubclass(driver, Trigger)
    assert issubclass(driver.Options, BaseModel)
    config = driver.Options.model_config
    assert (config["extra"], config["frozen"], config["strict"]) == ("forbid", True, True)


def test_names():
    ours = ("serial", "simulated", "zmq", "recording", "pulsepal", "harp_behavior", "osc", "open_ephys", "lsl")
    assert registry.names()[: len(ours)] == ours


def test_an_unknown_name():
    with pytest.raises(LookupError) as caught:
        registry.load("serail")
    assert str(caught.value).startswith("expected a trigger driver (serial, simulated, zmq, recording")
    assert str(caught.value).endswith("), got 'serail'; did you mean 'serial'?")
    with pytest.raises(LookupError, match=r"got 'daq'$"):
        registry.load("daq")
