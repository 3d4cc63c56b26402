"""Asks a rule in Python about every set of its animals in a frame, and holds it to its protocol."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from realtime.decision import State
from realtime.rules import foreign
from realtime.rules.base import Animal, PythonRule
from realtime.rules.bindings import bound_rows
from realtime.rules.foreign import ForeignError
from realtime.rules.recording import TrackTable
from realtime.rules.registry import Installed
from realtime.rules.spec import RuleContext
from realtime.tracks import Tracks


@dataclass(frozen=True, slots=True)
class Plugin:
    """A rule in Python with its settings, ready to be made.

    Attributes:
        rule: The rule's name in the rig.
        entry: Its name among the installed ones.
        installed: Its class, and the package.
        options: Its settings.
        context: The rig.
        max_ms: What its answers on one frame may take together, ms.
    """

    rule: str
    entry: str
    installed: Installed
    options: BaseModel
    context: RuleContext
    max_ms: float

    @property
    def source(self) -> dict[str, str]:
        """Where its code comes from, for the session's record."""
        installed = self.installed
        return {
            "python": self.entry,
            "target": installed.target,
            "package": installed.package,
            "version": installed.version,
        }

    def make(self) -> PythonRule:
        """Return a new instance, for one set of animals.

        Raises:
            ForeignError: It could not be made.
        """
        return foreign.call(self.whose, self.installed.kind, self.options, self.context)

    @property
    def whose(self) -> str:
        """What its code is called in errors."""
        return f"rule {self.rule}: {self.installed.target}"


class Asked:
    """The instances of a rule in Python, one for each set of animals.

    After an exception or an answer that is none, the rule is unknown for good: what it remembers cannot be relied on.

    Args:
        plugin: The rule.
        roles: `(n_animals, 2)`, how each finds its animal, see `bindings.Role`.
        any_pair: Whether the first two are the members of a pair.
        least: The identity confidence that is required, None for none.

    Attributes:
        fault: What went wrong; the empty string if nothing did.
        took_ns: How long the answers on the last frame took, host clock.
    """

    def __init__(self, plugin: Plugin, roles: NDArray[np.int32], *, any_pair: bool, least: float | None) -> None:
        self.plugin = plugin
        self._whose = plugin.whose
        self._bound_rows = bound_rows()
        self._roles = roles
        self._any_pair = any_pair
        self._least = math.nan if least is None else least
        self.fault = ""
        self.took_ns = 0
        self._instances: dict[tuple[int, ...], PythonRule] = {}
        self._said: dict[tuple[int, ...], State] = {}  # in the last frame

    def anew(self) -> "Asked":
        """Return one that has not been asked anything yet."""
        least = None if math.isnan(self._least) else self._least
        return Asked(self.plugin, self._roles, any_pair=self._any_pair, least=least)

    def reset(self) -> None:
        """Forget every frame, as before the first one."""
        self.fault, self.took_ns = "", 0
        self._instances.clear()
        self._said.clear()

    def answer(self, tracks: Tracks, frame_id: int, timestamp_ns: int, answers: NDArray[np.int8]) -> None:
        """Write what the rule says of a frame, as `State`s.

        Args:
            tracks: The frame's tracks.
            frame_id: The frame, for the fault.
            timestamp_ns: The frame's time.
            answers: `(1 + n_pairs,)` or more; with "any pair" the answers on the pairs stand from 1 on, else at 0.
        """
        began_ns = perf_counter_ns()
        answers[:] = State.UNKNOWN
        self._said.clear()
        if not self.fault:
            try:
                self._answer(tracks, timestamp_ns, answers)
            except ForeignError as error:
                answers[:] = State.UNKNOWN
                self._said.clear()
                self.fault = f"{error}, on frame {frame_id}"
        self.took_ns = perf_counter_ns() - began_ns

    def answer_recording(self, recording: TrackTable, answers: NDArray[np.int8]) -> None:
        """Write what the rule says of every frame of a recording into a row of `answers` each, see `answer`."""
        for index, row in enumerate(answers):
            frame_id, timestamp_ns = int(recording.frame_ids[index]), int(recording.timestamps_ns[index])
            self.answer(recording.tracks(index), frame_id, timestamp_ns, row)

    def said(self, track_ids: Sequence[int]) -> State:
        """Return the last answer on these animals; UNKNOWN where it was not asked."""
        return self._said.get(tuple(track_ids), State.UNKNOWN)

    def reasons(self, track_ids: Sequence[int]) -> tuple[str, ...]:
        """Return why the last answer on these animals was not True, in the rule's own words."""
        instance = self._instances.get(tuple(track_ids))
        if self.fault or instance is None:
            return (self.fault,) if self.fault else ()
        try:
            return foreign.call(self._whose, _reasons, instance)
        except ForeignError as error:
            return (str(error),)

    def _answer(self, tracks: Tracks, timestamp_ns: int, answers: NDArray[np.int8]) -> None:
        ids: list[int] = tracks.track_ids.tolist()
        living = set(ids)
        self._instances = {key: one for key, one in self._instances.items() if living.issuperset(key)}
        animals: dict[int, Animal] = {}
        for place, rows in self._bound(tracks):
            for row in rows:
                if row not in animals:
                    animals[row] = _animal(self.plugin.context.node_names, tracks, row)
            key = tuple(ids[row] for row in rows)
            instance = self._instances.get(key)
            if instance is None:
                instance = self._instances[key] = self.plugin.make()
            elif any(tracks.corrected_ids[row] for row in rows):
                foreign.call(self._whose, instance.reset)
            answer = foreign.call(self._whose, instance.evaluate, [animals[row] for row in rows], timestamp_ns)
            answers[place] = self._said[key] = self._state(answer)

    def _bound(self, tracks: Tracks) -> Iterator[tuple[int, list[int]]]:
        """Yield each place in the answers with the rows of its animals, where they are there and who they seem."""
        rows, is_sure = self._bound_rows(
            self._roles,
            self._any_pair,
            self._least,
            tracks.track_ids,
            tracks.identity_confidence,
            tracks.class_ids,
            tracks.suspect_ids,
        )
        first_place = 1 if self._any_pair else 0
        for place, (of_animals, sure) in enumerate(zip(rows.T.tolist(), is_sure.tolist(), strict=True), first_place):
            if sure:
                yield place, of_animals

    def _state(self, answer: object) -> State:
        if answer is None:
            return State.UNKNOWN
        if not isinstance(answer, bool | np.bool_):
            got = foreign.call(self._whose, repr, answer)
            raise ForeignError(
                f"{self._whose}: expected the answer True, False or None, got {got} ({type(answer).__name__})"
            )
        return State.ON if answer else State.OFF


def _reasons(rule: PythonRule) -> tuple[str, ...]:
    return tuple(str(reason) for reason in rule.reasons())


def _animal(nodes: tuple[str, ...], tracks: Tracks, row: int) -> Animal:
    xy, scores = tracks.xy[row].astype(np.float64), tracks.node_scores[row].astype(np.float64)
    xy.flags.writeable = scores.flags.writeable = False
    return Animal(nodes, xy, scores)
