"""The commands `rules ...`: what the rules of a rig say, and why one does not fire."""

import json
import math
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realtime.cli.app import Json, app, clear_errors, console
from realtime.cli.sessions import RigFile
from realtime.rig import Rig, load_rig

if TYPE_CHECKING:
    from realtime.explain import Cost
    from realtime.rules import RuleContext, TrackTable
    from realtime.rules.explained import Explanation
    from realtime.rules.why import Why

rules_app = typer.Typer(no_args_is_help=True, help="What the rules of a rig say, and why one does not fire.")
app.add_typer(rules_app, name="rules")


@rules_app.callback()
def rules() -> None:
    """What the rules of a rig say, and why one does not fire."""


@rules_app.command()
def explain(
    rig: RigFile,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", metavar="NAME", help="Only this rule; may be given again.")
    ] = None,
    session: Annotated[
        Path | None,
        typer.Option("--session", metavar="SESSION", help="Say why each rule is as it is in a frame of it."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="ID", help="Of this frame; by default the last.")
    ] = None,
    at: Annotated[
        float | None, typer.Option("--at", metavar="SECONDS", min=0.0, help="Of the frame at this time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what each rule needs, remembers and costs; with --session, why it is not on in a frame.

    The rules are those of RIG, on the animals that the session recorded, so that a changed rule can be tried.
    """
    from realtime.assemble import fitting_plane, load_model, make_lookahead, make_rules, rule_context  # noqa: PLC0415 - heavy, and only wanted here
    from realtime.explain import frame_index, measure, session_tracks  # noqa: PLC0415
    from realtime.folder import read_description  # noqa: PLC0415
    from realtime.rules.explained import explain as explained  # noqa: PLC0415

    with clear_errors():
        loaded = load_rig(rig)
        names = _chosen(loaded, rule or [])
        if session is None and (frame is not None or at is not None):
            raise ValueError("--frame and --at: expected --session SESSION with them, got none")
        with closing(load_model(loaded)) as model:
            ready, context = make_rules(loaded, model), rule_context(loaded, model)
            lookahead = make_lookahead(loaded, model, kept=True)
        if session is not None:
            camera = read_description(session, ("camera",))["camera"]
            plane = fitting_plane(loaded, camera["width"], camera["height"])
            recording = session_tracks(session, len(context.node_names), lookahead, plane)
            found = _why(loaded, context, names, recording, frame_index(recording, frame, at))
            _show_why(found, as_json=as_json)
            return
        costs = measure(ready, loaded.tracker.max_tracks, len(context.node_names))
        _show([(explained(name, loaded.rules[name], context), costs[name]) for name in names], as_json=as_json)


def _chosen(rig: Rig, names: list[str]) -> list[str]:
    for name in names:
        if name not in rig.rules:
            raise ValueError(f"--rule: expected a rule ({', '.join(rig.rules) or 'the rig has none'}), got {name!r}")
    return names or list(rig.rules)


def _why(rig: Rig, context: "RuleContext", names: list[str], recording: "TrackTable", index: int) -> "list[Why]":
    from realtime.rules.why import why  # noqa: PLC0415

    return [one for name in names for one in why(name, rig.rules[name], context, recording, index)]


def _show(found: "list[tuple[Explanation, Cost]]", *, as_json: bool) -> None:
    if as_json:
        listed = [{**asdict(explanation), "cost": asdict(cost)} for explanation, cost in found]
        typer.echo(json.dumps({"rules": listed}))
        return
    for explanation, cost in found:
        told = [f"rule {explanation.rule}", *explanation.lines]
        told += [f"  needs: {role}, {what}" for role, what in explanation.roles.items()]
        told += [
            f"  {label}: {', '.join(names)}"
            for label, names in (
                ("nodes", explanation.nodes),
                ("asks for rules", explanation.rules),
                ("remembers over", explanation.windows),
            )
            if names
        ]
        told += [f"  {line}" for line in explanation.timing]
        told += [f"  {function}: unknown when: {when}" for function, when in explanation.unknown_when.items()]
        told.append(
            f"  cost: {explanation.n_operations} operations; {cost.p50_us:.1f} us a frame (p50), {cost.p99_us:.1f} us "
            f"(p99), with {cost.n_tracks} animals, on this machine now"
        )
        _print(told)


def _show_why(found: "list[Why]", *, as_json: bool) -> None:
    from realtime.rules.why import value_text  # noqa: PLC0415

    if as_json:
        typer.echo(json.dumps({"rules": [_as_dict(one) for one in found]}))
        return
    for one in found:
        who = ", ".join(
            f"{role} = {f'track {track_id}' if track_id else 'nobody'}" for role, track_id in one.animals.items()
        )
        state = "ON" if one.is_on else f"not on (the rule: {one.state.name})"
        told = [f"rule {one.rule}, frame {one.frame_id}, {one.at_s:.3f} s{f', {who}' if who else ''}: {state}"]
        told += [f"  because {reason}" if index == 0 else f"  and {reason}" for index, reason in enumerate(one.reasons)]
        key = ""
        for part in one.parts:
            if part.key != key:
                key = part.key
                told.append(f"  {key}:")
            off = (
                ""
                if math.isnan(part.off_by)
                else f" ({part.off_by:.4g} {part.off_unit} from the limit)".replace(" )", ")")
            )
            told.append(f"    {'  ' * part.depth}{part.text}: {value_text(part)}{off}")
        _print(told)


def _as_dict(one: "Why") -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    parts = []
    for part in one.parts:
        value: float | bool | None = number(part.value)
        if part.is_condition and value is not None:
            value = bool(value)
        parts.append({**asdict(part), "value": value, "off_by": number(part.off_by)})
    return {**asdict(one), "state": one.state.name, "parts": parts, "line": one.line}


def _print(lines: list[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
