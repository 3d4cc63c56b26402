"""How the insects move: the rules of `step`, and chance that is the same everywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_drivers.insects import Animal, Arena, draw_animal, nodes_of, step, uniform

ARENA = Arena(512, 512, 60.0)


def test_uniform_is_pinned() -> None:
    """Sessions are replayed from a seed: these numbers must never change."""
    assert [uniform(0, 0, 0), uniform(1, 2, 3)] == [0.13870941014555427, 0.4175580595044027]


@given(st.integers(0, 2**64), st.integers(0, 200), st.integers(0, 10**12))
def test_uniform_is_in_range(seed: int, stream: int, index: int) -> None:
    assert 0.0 <= uniform(seed, stream, index) < 1.0


def test_uniform_is_uniform() -> None:
    draws = np.array([uniform(7, 3, index) for index in range(20_000)])
    counts, _ = np.histogram(draws, 20, (0.0, 1.0))
    assert counts.min() > 880
    assert counts.max() < 1120


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_animals=st.integers(1, 8),
    frame_rate_hz=st.sampled_from([10.0, 60.0, 500.0]),
)
def test_animals_stay_inside_and_apart(seed: int, n_animals: int, frame_rate_hz: float) -> None:
    arena = Arena(800, 600, 60.0)
    animals = arena.place(n_animals, seed)
    for frame_id in range(1, 150):
        animals = step(animals, arena, frame_id, frame_rate_hz, seed)
        xy = np.array([nodes_of(animal, index, arena) for index, animal in enumerate(animals)])
        assert xy.min() > -0.5
        assert xy[..., 0].max() < 799.5
        assert xy[..., 1].max() < 599.5
        thorax = xy[:, 1]
        apart = np.linalg.norm(thorax[:, None] - thorax[None], axis=-1) + 1e9 * np.eye(n_animals)
        assert apart.min() > 0.8 * 60.0


def test_drawing_is_exact_to_a_tenth_of_a_pixel() -> None:
    """An animal and its copy turned by half a turn about the thorax have their common centroid there."""
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[:512, :512]
    errors = []
    for index in range(60):
        x, y, heading, gait = chance.uniform((-2.0, -2.0, -3.0, 0.0), (2.0, 2.0, 3.0, 1.0))
        total = np.zeros((512, 512))
        for turn in (0.0, np.pi):
            image = np.zeros((512, 512), np.uint8)
            animal = Animal(x, y, heading + turn, gait=gait, wing_left_rad=1.0)
            draw_animal(image, animal, index, ARENA)
            total += image
        centroid = np.array([(total * columns).sum(), (total * rows).sum()]) / total.sum()
        errors.append(centroid - nodes_of(animal, index, ARENA)[1])
    assert np.abs(np.mean(errors, axis=0)).max() < 0.02
    assert np.linalg.norm(errors, axis=1).max() < 0.1


def test_a_male_faces_the_female_that_he_courts_and_sings() -> None:
    male = Animal(-2.0, 0.0, 2.5, mode=1, mode_left_s=9.0, partner=1, sings_left=True)
    female = Animal(2.0, 1.0, 0.0, mode_left_s=9.0)
    animals: tuple[Animal, ...] = (male, female)
    for frame_id in range(1, 200):
        animals = step((animals[0], female), ARENA, frame_id, 60.0, 0)
    male = animals[0]
    bearing = np.arctan2(female.y - male.y, female.x - male.x)
    assert abs(male.heading_rad - bearing) < 0.2
    assert 1.0 < np.hypot(female.x - male.x, female.y - male.y) < 1.7
    assert male.wing_left_rad == pytest.approx(1.15, abs=0.01)
    assert male.wing_right_rad == pytest.approx(0.22, abs=0.01)


def test_an_animal_at_the_wall_turns_away() -> None:
    a, _ = ARENA.axes
    animals: tuple[Animal, ...] = (Animal(a, 0.0, 0.3),)
    for frame_id in range(1, 120):
        animals = step(animals, ARENA, frame_id, 60.0, 0)
    assert np.hypot(animals[0].x, animals[0].y) < 0.95 * a
