"""Asks a rule in Python about every set of its animals in a frame, and holds it to its protocol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from realtime.decision import State
from realtime.rules.base import Animal, PythonRule
from realtime.rules.bindings import Role
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
        """Return a new instance, for one set of animals."""
        return self.installed.kind(self.options, self.context)

    def failed(self, error: Exception) -> str:
        """Return an exception of its code in words."""
        return f"rule {self.rule}: {self.installed.target} raised {type(error).__name__}: {error}"


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
        self._roles: list[tuple[int, int]] = [(how, value) for how, value in roles.tolist()]
        self._any_pair = any_pair
        self._least = None if least is None else np.float32(least)
        self.fault = ""
        self.took_ns = 0
        self._instances: dict[tuple[int, ...], PythonRule] = {}
        self._said: dict[tuple[int, ...], State] = {}  # in the last frame

    def anew(self) -> "Asked":
        """Return one that has not been asked anything yet."""
        roles = np.array(self._roles, np.int32)
        least = None if self._least is None else float(self._least)
        return Asked(self.plugin, roles, any_pair=self._any_pair, least=least)

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
            except Exception as error:  # noqa: BLE001 - somebody else's code: whatever it is, the outputs come first
                answers[:] = State.UNKNOWN
                self._said.clear()
                told = error.args[0] if isinstance(error, _WrongAnswerError) else self.plugin.failed(error)
                self.fault = f"{told}, on frame {frame_id}"
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
            return tuple(str(reason) for reason in instance.reasons())
        except Exception as error:  # noqa: BLE001 - a question that nothing depends on
            return (self.plugin.failed(error),)

    def _answer(self, tracks: Tracks, timestamp_ns: int, answers: NDArray[np.int8]) -> None:
        ids: list[int] = tracks.track_ids.tolist()
        living = set(ids)
        self._instances = {key: one for key, one in self._instances.items() if living.issuperset(key)}
        animals: dict[int, Animal] = {}
        for place, rows in self._bindings(tracks):
            if not self._is_sure(rows, tracks):
                continue
            for row in rows:
                if row not in animals:
                    animals[row] = _animal(self.plugin.context.node_names, tracks, row)
            key = tuple(ids[row] for row in rows)
            instance = self._instances.get(key)
            if instance is None:
                instance = self._instances[key] = self.plugin.make()
            elif any(tracks.corrected_ids[row] for row in rows):
                instance.reset()
            answer = instance.evaluate([animals[row] for row in rows], timestamp_ns)
            answers[place] = self._said[key] = self._state(answer)

    def _state(self, answer: object) -> State:
        if answer is None:
            return State.UNKNOWN
        if not isinstance(answer, bool | np.bool_):
            raise _WrongAnswerError(
                f"rule {self.plugin.rule}: {self.plugin.installed.target}: expected the answer True, False or None, "
                f"got {answer!r} ({type(answer).__name__})"
            )
        return State.ON if answer else State.OFF

    def _bindings(self, tracks: Tracks) -> Iterator[tuple[int, list[int]]]:
        """Yield each place in the answers with the rows of its animals, -1 for one that is not there."""
        if not self._any_pair:
            yield 0, [_row(how, value, tracks) for how, value in self._roles]
            return
        others = [_row(how, value, tracks) for how, value in self._roles[2:]]
        place, rows = 0, range(len(tracks.track_ids))
        for one in rows:
            for other in rows:
                if one != other:
                    place += 1
                    yield place, [one, other, *others]

    def _is_sure(self, rows: Sequence[int], tracks: Tracks) -> bool:
        if min(rows) < 0:
            return False
        return self._least is None or all(
            tracks.identity_confidence[row] >= self._least and not tracks.suspect_ids[row] for row in rows
        )


class _WrongAnswerError(Exception):
    """It answered something that is no answer; the argument says what."""


def _row(how: int, value: int, tracks: Tracks) -> int:
    found = np.flatnonzero((tracks.class_ids if how == Role.IDENTITY else tracks.track_ids) == value)
    return int(found[0]) if len(found) == 1 else -1


def _animal(nodes: tuple[str, ...], tracks: Tracks, row: int) -> Animal:
    xy, scores = tracks.xy[row].astype(np.float64), tracks.node_scores[row].astype(np.float64)
    xy.flags.writeable = scores.flags.writeable = False
    return Animal(nodes, xy, scores)
