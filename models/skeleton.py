"""Skeleton: the plan of an animal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Named landmarks and the links between them.

    Attributes:
        nodes: Landmark names, unique, in the order of every `(n_nodes, …)` array.
        edges: Body links as (source, destination) indices into `nodes`.
        symmetries: Left-right pairs as indices into `nodes`.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    symmetries: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ValueError("skeleton: expected at least one node, got none")
        if len(set(self.nodes)) != len(self.nodes):
            twice = sorted({name for name in self.nodes if self.nodes.count(name) > 1})
            raise ValueError(f"skeleton: expected unique node names, got {', '.join(twice)} more than once")
        for source, destination in (*self.edges, *self.symmetries):
            if not (0 <= source < len(self.nodes) and 0 <= destination < len(self.nodes)):
                raise ValueError(
                    f"skeleton: expected links between nodes 0 to {len(self.nodes) - 1}, got {source} → {destination}"
                )
