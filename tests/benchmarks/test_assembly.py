"""The scenes that the assembly benchmark measures, and its command line."""

import json
import sys

import numpy as np
import pytest

from benchmarks import assembly
from models.decode.assembly import Assembler


@pytest.mark.parametrize(("n_animals", "n_nodes"), assembly.SIZES)
def test_a_clear_scene_has_its_animals_whole(n_animals, n_nodes):
    assembler = Assembler(assembly.branching_skeleton(n_nodes), n_animals, n_animals + 2)
    assert assembler.assemble(*assembly.random_scene(n_animals, n_nodes, crowded=False)) == n_animals
    assert np.isfinite(assembler.xy).all()
    assert not assembler.overflow


def test_a_crowded_scene_fills_every_slot():
    scene = assembly.random_scene(2, 13, crowded=True)
    assert scene.peak_valid.all()
    assert scene.edge_scores.shape == (12, 4, 4)


def test_the_command_prints_percentiles_and_the_machine(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["assembly", "-n", "3", "--json"])
    assert assembly.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["assembly_ms"]["8 × 24, crowded"]["n"] == 3
    assert result["machine"]
