"""The warm-up that every engine does, and its end."""

from pathlib import Path

import numpy as np
import pytest

from models.engines import checked
from models.engines.checked import CheckedEngine, CheckedGraph

PATH = Path("folder/model.onnx")


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def perf_counter(self):
        return self.now_s

    monotonic = perf_counter


class TimedGraph(CheckedGraph):
    """A graph whose runs take the given times, the last of them from then on."""

    def __init__(self, clock, times_s):
        super().__init__(PATH, (1, 2, 3))
        self._clock = clock
        self._times_s = times_s
        self.runs = 0
        self.releases = 0

    def _execute(self, image):
        self._clock.now_s += self._times_s[min(self.runs, len(self._times_s) - 1)]
        self.runs += 1

    def _release(self):
        self.releases += 1


class TimedEngine(CheckedEngine):
    description = "timed"

    def __init__(self, graph):
        super().__init__(PATH)
        self.graph = graph
        self.releases = 0

    def _bind(self, image_shape, outputs):
        return self.graph

    def _release(self):
        self.releases += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(checked, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("times_s", "runs"),
    [
        ([0.01], 6),
        ([0.5, 0.01], 7),
        # A tenth faster every time: not settled before the third run.
        ([0.1, 0.09, 0.08, 0.08], 8),
        # A little faster every time is noise.
        ([0.1, 0.099, 0.098, 0.097, 0.096, 0.095], 6),
    ],
)
def test_binding_runs_until_no_run_is_faster(clock, times_s, runs):
    graph = TimedGraph(clock, times_s)
    assert TimedEngine(graph).bind((1, 2, 3), {}) is graph
    assert graph.runs == runs


def test_the_warm_up_of_a_slow_graph_ends_after_some_seconds(clock):
    graph = TimedGraph(clock, [2.0 * 0.9**k for k in range(50)])
    TimedEngine(graph).bind((1, 2, 3), {})
    assert clock.now_s - 100.0 < checked.WARM_UP_LIMIT_S + 2.0


def test_everything_is_released_once(clock):
    graph = TimedGraph(clock, [0.01])
    engine = TimedEngine(graph)
    engine.bind((1, 2, 3), {})
    for _ in range(2):
        engine.close()
        graph.close()
    assert (graph.releases, engine.releases) == (1, 1)


def test_a_read_only_image_is_taken(clock):
    image = np.zeros((1, 2, 3), np.uint8)
    image.flags.writeable = False
    graph = TimedGraph(clock, [0.01])
    graph.run(image)
    assert graph.runs == 1
