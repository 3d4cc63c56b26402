"""A signal is answered, not a segmentation fault, whatever order OpenVINO's models go in."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, signal
from pathlib import Path
from models.exported import ExportedModel, ExportedOptions

def model():
    return ExportedModel(ExportedOptions(path=Path("zoo:sim_pair"), engine="openvino"))

received = []
signal.signal(signal.SIGINT, lambda *_: received.append(1))
first, second = model(), model()
for one in (first, second):
    one.close()
del one, first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGINT)
assert received
"""


def test_ctrl_c_is_answered_after_two_models_went():
    pytest.importorskip("openvino", reason="needs the extra openvino")
    # The fault handler gives the thread a stack for its signals, as pytest's does.
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
