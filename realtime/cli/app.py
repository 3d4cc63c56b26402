"""The `poseloop` application: what every command shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Real-time closed-loop tracking for lab rigs: camera frame in, animal poses, social rules, stimulus out, and "
    "exact replay.\n\nStart with `poseloop demo`; it needs no hardware.",
    epilog="Exit codes: 0 done; 1 a replay differs or a check found a fault; 2 wrong input (command line, rig, model, "
    "file); 3 a camera, model or trigger failed; 4 the recording failed; 130 Ctrl-C; 143 SIGTERM.",
)
console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


def complain(text: str) -> None:
    """Print an error."""
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def tell(text: str, *, done: bool) -> None:
    """Print what came of something: as it is if it was done, as an error if not."""
    if done:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        complain(text)


def progress_bar(*, quiet: bool) -> "Progress":
    """Return a bar for long work, to be entered; it shows on a terminal alone, and leaves nothing behind."""
    from rich.progress import Progress  # noqa: PLC0415 - an emergency stop does without it

    return Progress(console=errors, transient=True, disable=quiet or not errors.is_terminal)


@contextmanager
def clear_errors(*, camera_is_a_file: bool = False) -> Iterator[None]:
    """Turn what a user can do wrong into a message and exit code 2, and failing hardware into exit code 3.

    A file of which the system says that it cannot be opened or made is one that the user named wrongly.

    Args:
        camera_is_a_file: A camera that cannot be opened is a file that the user named wrongly.
    """
    # Here and not above: heavy, and an emergency stop does without it.
    from pydantic import ValidationError  # noqa: PLC0415

    from camera_drivers.errors import CameraError, CameraNotOpenError  # noqa: PLC0415
    from models.errors import ModelError, ModelFailedError  # noqa: PLC0415
    from models.spec import listed_faults  # noqa: PLC0415
    from realtime.folder import FolderError  # noqa: PLC0415
    from realtime.rig import RigError  # noqa: PLC0415
    from triggers.errors import TriggerError  # noqa: PLC0415

    try:
        yield
    except ValidationError as error:
        complain(listed_faults("options", error))
        raise typer.Exit(2) from error
    except ModelFailedError as error:
        complain(str(error))
        raise typer.Exit(3) from error
    except CameraNotOpenError as error:
        complain(str(error))
        raise typer.Exit(2 if camera_is_a_file else 3) from error
    except (RigError, ModelError, FolderError, ImportError, ValueError) as error:
        complain(str(error))
        raise typer.Exit(2) from error
    except (CameraError, TriggerError) as error:
        complain(str(error))
        raise typer.Exit(3) from error
    except OSError as error:
        complain(str(error) if error.filename is None else f"{error.filename}: {error.strerror}")
        raise typer.Exit(3 if error.filename is None else 2) from error
