"""Control conditions: which stimulus is real and which is a sham, fixed by the seed before the session begins.

Nothing is drawn from a stream: every number follows from the seed, the stimulus' name and the number of the stimulus
alone, so that one stimulus does not move what another draws, and that anybody can compute it again, in any language:

    draw = (the first 8 bytes, big-endian, of SHA-256 of "seed/purpose/ordinal/name", without the last 11 bits) / 2**53

The seed stands in the session's description before the first frame comes, so the arms are known before any command.
"""

import hashlib
from typing import Literal

from realtime.stimulus.spec import BlockSpec, StimulusSpec

Arm = Literal["real", "sham"]


def draw(seed: int, purpose: str, ordinal: int, name: str) -> float:
    """Return a number that is evenly spread over [0, 1).

    Args:
        seed: Of the stimulus.
        purpose: What it is for: `arm` or `interval`.
        ordinal: The how-manieth, from 0.
        name: Of the stimulus.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{ordinal}/{name}".encode()).digest()
    return float((int.from_bytes(digest[:8]) >> 11) / 2**53)


class Arms:
    """The arm of each stimulus of one name.

    Args:
        name: Of the stimulus.
        spec: Has the control condition; without one every stimulus is real.
    """

    def __init__(self, name: str, spec: StimulusSpec) -> None:
        self._name = name
        self._spec = spec
        self._seed = spec.seed or 0
        self._block = -1
        self._arms: tuple[Arm, ...] = ()

    def of(self, ordinal: int) -> Arm:
        """Return the arm of the stimulus that is asked for as the `ordinal`-th, from 0; the same one every time."""
        spec = self._spec
        if spec.sham:
            return "sham"
        if spec.probability is not None:
            return "real" if draw(self._seed, "arm", ordinal, self._name) < spec.probability else "sham"
        if spec.blocks is not None:
            number, place = divmod(ordinal, spec.blocks.size)
            if number != self._block:
                self._block, self._arms = number, self._draw_block(number, spec.blocks)
            return self._arms[place]
        return "real"

    def _draw_block(self, number: int, block: BlockSpec) -> tuple[Arm, ...]:
        """Return the arms of one block: those with the smallest draws are real, so that every order is as likely."""
        first = number * block.size
        draws = [draw(self._seed, "arm", first + place, self._name) for place in range(block.size)]
        real = set(sorted(range(block.size), key=draws.__getitem__)[: block.real])
        return tuple("real" if place in real else "sham" for place in range(block.size))
