import pytest

from models.skeleton import Skeleton


def test_a_skeleton_is_a_value():
    assert Skeleton(("a", "b"), ((0, 1),)) == Skeleton(("a", "b"), ((0, 1),))


@pytest.mark.parametrize(
    ("nodes", "links", "message"),
    [
        ((), (), "skeleton: expected at least one node, got none"),
        (("a", "b", "a"), (), "skeleton: expected unique node names, got a more than once"),
        (("a", "b"), ((0, 2),), "skeleton: expected links between nodes 0 to 1, got 0 → 2"),
        (("a", "b"), ((-1, 0),), "skeleton: expected links between nodes 0 to 1, got -1 → 0"),
    ],
)
@pytest.mark.parametrize("kind", ["edges", "symmetries"])
def test_impossible_skeletons(nodes, links, message, kind):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole text is compared
        Skeleton(nodes, **{kind: links})
    assert str(error.value) == message
