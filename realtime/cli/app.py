"""The `poseloop` application: what every command shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from camera_drivers.errors import CameraError, CameraNotOpenError
from models.engines.options import Device, EngineName, Precision, Provider
from models.errors import ModelError, ModelFailedError
from models.spec import listed_faults
from realtime import folder as session_folder
from realtime.rig import RigError
from triggers.errors import TriggerError

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
Engine = Annotated[EngineName, typer.Option("--engine", help="What runs the model.")]
OnDevice = Annotated[Device, typer.Option("--device", help="Where it runs.")]
WithProvider = Annotated[Provider, typer.Option("--provider", help="ONNX Runtime's, on cuda.")]
InPrecision = Annotated[Precision, typer.Option("--precision", help="fp16 needs cuda, bf16 openvino.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads of the model on the CPU; by default one for every core.")
]


def complain(text: str) -> None:
    """Print an error."""
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def clear_errors(*, camera_is_a_file: bool = False) -> Iterator[None]:
    """Turn what a user can do wrong into a message and exit code 2, and failing hardware into exit code 3.

    Args:
        camera_is_a_file: A camera that cannot be opened is a file that the user named wrongly.
    """
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
    except (RigError, ModelError, session_folder.FolderError, ImportError, ValueError) as error:
        complain(str(error))
        raise typer.Exit(2) from error
    except (CameraError, TriggerError, OSError) as error:
        complain(str(error))
        raise typer.Exit(3) from error
