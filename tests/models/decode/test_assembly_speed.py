"""Assembly must stay a small part of a frame's few milliseconds.

The minimum counts: whatever else runs on the machine only ever adds to it.
"""

import pytest

from benchmarks.assembly import branching_skeleton, random_scene
from models.decode.assembly import Assembler


@pytest.mark.parametrize("crowded", [False, True], ids=["clear", "crowded"])
@pytest.mark.parametrize(("n_animals", "n_nodes", "limit_us"), [(2, 13, 50), (8, 24, 500)], ids=["2x13", "8x24"])
def test_assembly_takes_microseconds(benchmark, n_animals, n_nodes, limit_us, crowded):
    assembler = Assembler(branching_skeleton(n_nodes), n_animals, n_animals + 2)
    scene = random_scene(n_animals, n_nodes, crowded=crowded)
    found = benchmark.pedantic(assembler.assemble, scene, rounds=500, warmup_rounds=20)
    assert found == n_animals
    if benchmark.enabled:
        assert benchmark.stats["min"] * 1e6 <= limit_us
