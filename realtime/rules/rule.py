"""Rule: a compiled rule with its memory, for one frame at a time or a whole recording."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from realtime.decision import Decision, Edge, State
from realtime.rules.asked import Asked
from realtime.rules.bindings import Binding, Memory
from realtime.rules.compiled import Comparison, Program
from realtime.rules.kernel import Outcome, Setting, machine_code
from realtime.rules.recording import DecisionTable, TrackTable
from realtime.tracks import Tracks

_STATES: Final = tuple(State)
_EDGES: Final = tuple(Edge)


class States:
    """What rules that others name said of the frame in hand: written by each, read by those that come after it.

    Attributes:
        n_columns: One for each rule of the rig; 0 where none names another.
        has_pairs: Whether a rule asks for one pair.
        table: `(1, n_columns, 1 + n_pairs)` int8, see `kernel.evaluate_frames`.
    """

    def __init__(self, n_columns: int = 0, *, has_pairs: bool = False) -> None:
        self.n_columns: Final = n_columns
        self.has_pairs: Final = has_pairs
        self.table = self.empty(1, n_tracks=2)

    def empty(self, n_frames: int, n_tracks: int) -> NDArray[np.int8]:
        """Return a table for so many frames of at most so many tracks in which everything is UNKNOWN."""
        n_pairs = max(0, n_tracks * (n_tracks - 1)) if self.has_pairs else 0
        return np.full((n_frames, self.n_columns, 1 + n_pairs), State.UNKNOWN, np.int8)

    def fit(self, n_tracks: int) -> None:
        """Make room for the pairs of a frame; what was said of it so far is kept."""
        if self.has_pairs and n_tracks * (n_tracks - 1) >= self.table.shape[2]:
            small = self.table
            self.table = self.empty(1, n_tracks)
            self.table[:, :, : small.shape[2]] = small


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rule is on its way to a RISING, after a frame.

    Attributes:
        is_latched: Whether the binding of its roles is on.
        true_ns: How long `when` has been true towards `for_s`.
        last_rising_ns: The time of the last RISING, None before the first.
        answer: What a rule in Python answered on the frame.
        told: Why it did not answer True, in its own words.
    """

    is_latched: bool
    true_ns: int
    last_rising_ns: int | None
    answer: State | None = None
    told: tuple[str, ...] = ()


def _progress(memory: NDArray[np.int64], bindings: NDArray[np.int64], pair: tuple[int, int] | None) -> Progress:
    rows = bindings[memory[Memory.ACTIVE_TABLE], : memory[Memory.N_BINDINGS]]
    of_pair = (rows[:, [Binding.FIRST_ID, Binding.SECOND_ID]] == (pair or (0, 0))).all(axis=1)
    found = rows[of_pair]
    return Progress(
        bool(found[0, Binding.LATCHED]) if len(found) else False,
        int(found[0, Binding.TRUE_NS]) if len(found) else 0,
        int(memory[Memory.LAST_RISING_NS]) if memory[Memory.HAS_RISEN] else None,
    )


def _asked(program: Program) -> Asked | None:
    if program.plugin is None:
        return None
    place = program.settings[Setting.IDENTITY]
    return Asked(
        program.plugin,
        program.bindings,
        any_pair=bool(program.settings[Setting.ANY_PAIR]),
        least=None if place < 0 else float(program.constants[place]),
    )


class Rule:
    """One rule. Its state follows the table in `realtime.rules.kernel`.

    Args:
        program: The compiled rule.
        states: What the rules of its rig share.
        column: Where this rule's states stand in there, -1 for nowhere.
        needs: The rules that it names, and those that they do, each after those that it names itself.

    Attributes:
        name: The rule's name.
        needs: Rules that have to be evaluated on a frame before this one.
        n_operations: Operations that a frame takes, for each pair where it is about any pair.
        roles: The names behind `Decision.track_ids`, in that order.
        comparisons: The comparisons behind `Decision.values`, in that order.
        plugin: Where it is a rule in Python; else None.
    """

    def __init__(
        self, program: Program, states: States | None = None, column: int = -1, needs: Sequence["Rule"] = ()
    ) -> None:
        self.name: Final = program.name
        self.needs: Final = tuple(needs)
        self.n_operations: Final = len(program.code)
        self.roles: Final = program.roles
        self.comparisons: Final[tuple[Comparison, ...]] = program.comparisons
        self._units = tuple(comparison.unit for comparison in program.comparisons)
        settings = program.settings.copy()
        settings[Setting.COLUMN] = column
        self._code = (program.code, program.constants, program.numbers)
        self._program = (program.bindings, settings)
        self._states = States() if states is None else states
        self._column = column
        self.plugin: Final = program.plugin
        self._asked = _asked(program)
        self._frame: tuple[int, int] | None = None  # the last one that was evaluated
        self._predicts = program.predicts
        self._any_pair = bool(program.settings[Setting.ANY_PAIR])
        self._memory = np.zeros(len(Memory), np.int64)
        self._width = program.width
        self._bindings = self._binding_tables(n_tracks=2)
        self._places = self._empty_places(self._bindings)
        self._offsets = np.zeros(2, np.int64)
        self._timestamp_ns = np.zeros(1, np.int64)
        self._outcome = np.zeros((1, Outcome.TRACK_IDS + len(self.roles)), np.int32)
        self._values = np.zeros((1, len(self.comparisons)))

    def reset(self) -> None:
        """Forget every frame, as before the first one."""
        self._memory[:] = 0
        self._frame = None
        if self._asked is not None:
            self._asked.reset()

    @property
    def fault(self) -> str:
        """What a rule in Python did that is against its protocol, since when it is unknown; else the empty string."""
        return "" if self._asked is None else self._asked.fault

    @property
    def asked_ns(self) -> int:
        """How long a rule in Python took for its answers on the last frame, ns."""
        return 0 if self._asked is None else self._asked.took_ns

    def warm_up(self) -> None:
        """Compile, or load what an earlier run compiled, so that the first frame is not late; changes no state."""
        machine_code()

    def evaluate(self, tracks: Tracks, frame_id: int, timestamp_ns: int) -> Decision:
        """Evaluate the rule on the next frame.

        Args:
            tracks: The frame's tracks.
            frame_id: The frame, for the record.
            timestamp_ns: The frame's time, not before that of the frame before.

        Raises:
            RuntimeError: A rule that this one names was not evaluated on this frame yet, or this one asks where an
                animal will be, and the tracks do not say.
        """
        self._frame = (frame_id, timestamp_ns)
        for rule in self.needs:
            if rule._frame != self._frame:  # noqa: SLF001 - of the same class
                raise RuntimeError(
                    f"rule {self.name}: expected rule {rule.name}, which it names, to be evaluated before it on frame "
                    f"{frame_id}; evaluate rules in the order of compile_rules"
                )
        prediction, n_tracks = tracks.prediction, len(tracks.track_ids)
        if self._predicts and prediction is None:
            raise RuntimeError(f"rule {self.name}: expected tracks with a prediction for 'predicted', got none")
        if self._any_pair and n_tracks * (n_tracks - 1) > self._bindings.shape[1]:
            self._grow(n_tracks)
        self._states.fit(n_tracks)
        if self._asked is not None:
            self._asked.answer(tracks, frame_id, timestamp_ns, self._states.table[0, self._column])
        self._offsets[1] = n_tracks
        self._timestamp_ns[0] = timestamp_ns
        machine_code()(
            *self._code,
            self._states.table,
            *self._program,
            self._memory,
            self._bindings,
            *self._places,
            self._offsets,
            self._timestamp_ns,
            tracks.track_ids,
            tracks.xy,
            tracks.xy if prediction is None else prediction.xy,
            tracks.node_scores,
            tracks.identity_confidence,
            tracks.class_ids,
            tracks.suspect_ids,
            tracks.corrected_ids,
            self._outcome,
            self._values,
        )
        state, edge, *track_ids = self._outcome[0].tolist()
        return Decision(
            self.name,
            frame_id,
            timestamp_ns,
            _STATES[state],
            _EDGES[edge],
            () if 0 in track_ids else tuple(track_ids),
            tuple(self._values[0].tolist()),
            self._units,
        )

    def evaluate_recording(self, recording: TrackTable) -> DecisionTable:
        """Evaluate the rule on a whole recording from its first frame on; the live state is left alone.

        The rules that it names are evaluated before it, all on this recording.
        """
        return self.follow(recording)[0]

    def follow(self, recording: TrackTable, pair: tuple[int, int] | None = None) -> tuple[DecisionTable, "Progress"]:
        """Evaluate the rule on a whole recording, and say how far it is after the last frame.

        Args:
            recording: The frames.
            pair: With "any pair": the tracks whose animals, numbers and progress to report wherever both are there,
                instead of those of the pair that decides.
        """
        n_tracks = int(np.diff(recording.offsets).max(initial=0))
        states = self._states.empty(len(recording.frame_ids), n_tracks)
        for rule in self.needs:
            rule._run(recording, states, None)  # noqa: SLF001 - of the same class
        return self._run(recording, states, pair)

    def _run(
        self, recording: TrackTable, states: NDArray[np.int8], pair: tuple[int, int] | None
    ) -> tuple[DecisionTable, "Progress"]:
        n_frames, predicted_xy = len(recording.frame_ids), recording.predicted_xy
        if self._predicts and predicted_xy is None:
            raise RuntimeError(f"rule {self.name}: expected tracks with a prediction for 'predicted', got none")
        outcomes = np.zeros((n_frames, self._outcome.shape[1]), np.int32)
        values = np.zeros((n_frames, self._values.shape[1]))
        memory = np.zeros(len(Memory), np.int64)
        bindings = self._binding_tables(int(np.diff(recording.offsets).max(initial=0)))
        asked = None if self._asked is None else self._asked.anew()
        if asked is not None:
            asked.answer_recording(recording, states[:, self._column])
        roles, settings = self._program
        settings = settings.copy()
        settings[[Setting.ONLY_FIRST, Setting.ONLY_SECOND]] = pair or (0, 0)
        machine_code()(
            *self._code,
            states,
            roles,
            settings,
            memory,
            bindings,
            *self._empty_places(bindings),
            recording.offsets,
            recording.timestamps_ns,
            recording.track_ids,
            recording.xy,
            recording.xy if predicted_xy is None else predicted_xy,
            recording.node_scores,
            recording.identity_confidence,
            recording.class_ids,
            recording.suspect_ids,
            recording.corrected_ids,
            outcomes,
            values,
        )
        decisions = DecisionTable(
            self.name,
            self._units,
            recording.frame_ids,
            recording.timestamps_ns,
            outcomes[:, Outcome.STATE],
            outcomes[:, Outcome.EDGE],
            outcomes[:, Outcome.TRACK_IDS :],
            values,
        )
        progress = _progress(memory, bindings, pair)
        if asked is not None:
            animals = outcomes[-1, Outcome.TRACK_IDS :].tolist()
            progress = replace(progress, answer=asked.said(animals), told=asked.reasons(animals))
        return decisions, progress

    def _binding_tables(self, n_tracks: int) -> NDArray[np.int64]:
        n_bindings = max(1, n_tracks * (n_tracks - 1)) if self._any_pair else 1
        return np.zeros((2, n_bindings, len(Binding)), np.int64)

    def _empty_places(
        self, bindings: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Return moments, amounts and free places for twice the bindings: a frame's, and those that it replaces."""
        n_places = 2 * bindings.shape[1]
        return (
            np.zeros((n_places, self._width), np.int64),
            np.zeros((n_places, self._width)),
            np.zeros(n_places, np.int64),
        )

    def _grow(self, n_tracks: int) -> None:
        small, small_places = self._bindings, self._places
        self._bindings = self._binding_tables(n_tracks)
        self._bindings[:, : small.shape[1]] = small
        self._places = self._empty_places(self._bindings)
        for larger, old in zip(self._places, small_places, strict=True):
            larger[: len(old)] = old
