"""The rows of a live run, by hand."""

import numpy as np
import pytest

from benchmarks.live_runs import stage_rows

MS = 1_000_000


def test_the_way_is_the_sum_of_its_stages_and_the_network_can_be_left_out() -> None:
    rows = stage_rows(np.array([[1, 20, 3, 4, 5], [2, 40, 6, 8, 10]]) * MS)
    most = {name: row["max"] for name, row in rows.items()}
    assert most == pytest.approx(
        {
            "grab": 2.0,
            "predict": 40.0,
            "update": 6.0,
            "evaluate": 8.0,
            "fire": 10.0,
            "frame → command": 66.0,
            "outside the network": 26.0,
        }
    )
    assert {row["n"] for row in rows.values()} == {2.0}
