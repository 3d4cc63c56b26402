"""Simulated animals to evaluate."""

from collections.abc import Callable

import numpy as np
import pytest

from models.labels import Labels
from models.skeleton import Skeleton

NODES = ("head", "thorax", "tail")
BODY = np.array([[0.0, -20.0], [4.0, 0.0], [0.0, 20.0]])


@pytest.fixture(scope="session")
def animals() -> Callable[..., Labels]:
    """Labels of animals whose thorax is at (x + 4, y): rows of (frame, x, y) or (frame, x, y, track)."""

    def make(*rows: tuple, scores=None, frames=None, track_names=("a", "b", "c"), source="truth", **more) -> Labels:
        places = np.array([row[1:3] for row in rows], float).reshape(-1, 1, 2)
        return Labels.from_arrays(
            Skeleton(NODES),
            [row[0] for row in rows],
            BODY + places,
            scores=scores,
            tracks=[row[3] if len(row) > 3 else -1 for row in rows],
            track_names=track_names,
            frames=frames,
            source=source,
            **more,
        )

    return make


@pytest.fixture(scope="session")
def walk() -> Callable[..., tuple[Labels, Labels]]:
    """Animals that walk about, and a bad tracker's account of them: noise, misses, inventions, swapped tracks."""

    def make(seed: int, n_animals: int = 3, n_frames: int = 60) -> tuple[Labels, Labels]:
        chance = np.random.default_rng(seed)
        places = chance.uniform(0, 300, (n_animals, 2)) + chance.normal(0, 6, (n_frames, n_animals, 2)).cumsum(axis=0)
        names = np.arange(n_animals)
        truth, found = [], []
        for frame, at in enumerate(places):
            truth += [(frame, animal, at[animal]) for animal in range(n_animals) if chance.random() > 0.05]
            if chance.random() < 0.1:
                names = chance.permutation(names)
            found += [
                (frame, names[animal], at[animal] + chance.normal(0, 3, 2))
                for animal in range(n_animals)
                if chance.random() > 0.1
            ]
            if chance.random() < 0.2:
                found.append((frame, n_animals, chance.uniform(0, 300, 2)))
        truth_labels, found_labels = (
            Labels.from_arrays(
                Skeleton(NODES),
                [row[0] for row in rows],
                np.array([BODY + row[2] for row in rows]),
                tracks=[row[1] for row in rows],
                track_names=[f"track_{k}" for k in range(n_animals + 1)],
            )
            for rows in (truth, found)
        )
        return truth_labels, found_labels

    return make
