"""The animals of every binding, against a search by hand over any tracks."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime.rules.bindings import Role, bound_rows

ROLES = st.lists(st.tuples(st.sampled_from([Role.IDENTITY, Role.TRACK]), st.integers(0, 4)), min_size=1, max_size=3)
ANIMALS = st.lists(
    st.tuples(
        st.integers(-1, 2),  # class id
        st.sampled_from([0, 0, 0, 1]),  # suspect id
        st.sampled_from([0.0, 0.89, 0.9, 1.0, math.nan]),  # identity confidence
    ),
    max_size=5,
)


@settings(deadline=None)  # the first call compiles
@given(roles=ROLES, animals=ANIMALS, any_pair=st.booleans(), least=st.sampled_from([math.nan, 0.0, 0.9]))
def test_every_binding_has_the_rows_of_its_animals(
    roles: list[tuple[int, int]], animals: list[tuple[int, int, float]], any_pair: bool, least: float
) -> None:
    track_ids = np.arange(1, len(animals) + 1, dtype=np.int32)
    class_ids, suspects = (np.array([animal[field] for animal in animals], np.int32) for field in (0, 1))
    confidence = np.array([animal[2] for animal in animals], np.float32)

    def row_of(how: int, value: int) -> int:
        ids: NDArray[np.int32] = class_ids if how == Role.IDENTITY else track_ids
        rows = [row for row, one in enumerate(ids.tolist()) if one == value]
        return rows[0] if len(rows) == 1 else -1

    def is_sure(row: int) -> bool:
        if row < 0 or math.isnan(least):
            return row >= 0
        return bool(confidence[row] >= np.float32(least)) and suspects[row] == 0

    fixed = [row_of(*role) for role in roles]
    n = len(animals)
    pairs = [[one, other] for one in range(n) for other in range(n) if one != other] if any_pair else [[]]
    expected = [[*pair, *fixed] for pair in pairs]
    table = [(Role.PAIR_FIRST, 0), (Role.PAIR_SECOND, 0)] * any_pair + roles
    rows, sure = bound_rows()(
        np.array(table, np.int32), any_pair, float(np.float32(least)), track_ids, confidence, class_ids, suspects
    )
    assert rows.T.tolist() == expected
    assert sure.tolist() == [all(map(is_sure, binding)) for binding in expected]
