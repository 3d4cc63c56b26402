"""Commands to running sessions: arm, disarm. It imports little, so that a stop is quick; see `realtime.cli.main`."""

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from realtime.cli.app import Json, app, complain, tell
from realtime.supervision.ordering import NoSessionError, give_order, running_sessions
from realtime.supervision.protocol import Ask

Running = Annotated[
    Path | None, typer.Argument(metavar="[SESSION]", help="The folder of a running session; every one by default.")
]
Address = Annotated[
    str | None,
    typer.Option(help="Ask at this address instead (safety.address of the rig), e.g. tcp://127.0.0.1:5581."),
]


@app.command()
def arm(folder: Running = None, address: Address = None, as_json: Json = False) -> None:
    """Let a running session send stimuli, until something goes wrong or somebody disarms it."""
    with _clear_errors():
        chosen = _chosen(folder, address)
        if len(chosen) > 1:
            listed = "\n".join(map(str, chosen))
            raise NoSessionError(f"expected one running session, got several; name the one to arm:\n{listed}")
        code = _order("arm", chosen, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def disarm(folder: Running = None, address: Address = None, as_json: Json = False) -> None:
    """Emergency stop: switch every output off at once, of every running session or of one; it goes on recording.

    A session whose loop does not answer within a quarter of a second is killed, and its outputs are switched off
    without it. Nothing goes out again until somebody arms.
    """
    with _clear_errors():
        code = _order("disarm", _chosen(folder, address), as_json=as_json)
    raise typer.Exit(code)


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (NoSessionError, OSError) as error:
        complain(str(error))
        raise typer.Exit(2) from error


def _chosen(folder: Path | None, address: str | None) -> dict[Path, str]:
    """Return session folder → address."""
    if address is not None:
        if folder is not None:
            raise NoSessionError("expected a session folder or --address, got both")
        return {Path(give_order(address, Ask("state")).session): address}
    running = running_sessions()
    if folder is None:
        if not running:
            raise NoSessionError("no session of yours is running on this computer")
        return running
    found = running.get(folder.absolute())
    if found is None:
        listed = ", ".join(map(str, running)) or "none"
        raise NoSessionError(f"{folder}: expected a running session, got one that is not; running: {listed}")
    return {folder.absolute(): found}


def _order(order: Literal["arm", "disarm"], sessions: dict[Path, str], *, as_json: bool) -> int:
    """Give the order to each, one that fails not in the way of the others; return the exit code."""
    answers: list[dict[str, Any]] = []
    for folder, address in sessions.items():
        try:
            answer = give_order(address, Ask(order, f"{getpass.getuser()}, poseloop {order}"))
        except NoSessionError as error:
            answers.append({"session": str(folder), "done": False, "armed": None, "text": str(error)})
        else:
            answers.append({"session": answer.session, "done": answer.done, "armed": answer.armed, "text": answer.text})
    if as_json:
        typer.echo(json.dumps(answers))
    for found in () if as_json else answers:
        what = "armed" if found["armed"] else f"disarmed: {found['text']}" if found["done"] else found["text"]
        tell(f"{found['session']}: {what}", done=found["done"])
    return 0 if all(found["done"] for found in answers) else 1
