"""Parts made from a rig: the models of the rigs that are measured."""

from pathlib import Path

import pytest

from realtime.assemble import check_parity, load_model
from realtime.rig import load_rig

RIGS = Path(__file__).parents[2] / "rigs"


@pytest.mark.parametrize("name", ["benchmark.toml", "benchmark_flies.toml", "endurance.toml", "endurance_busy.toml"])
def test_the_model_of_a_benchmark_arms_on_whatever_processor_this_is(name):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    rig = load_rig(RIGS / name)
    model = load_model(rig)
    assert check_parity(rig, model, fires=True)["checked"]
    model.close()
