import re

import onnxruntime
import pytest

from realtime.check import check_rig
from realtime.live import Request, run_live
from realtime.loop import StopRequest
from realtime.rig import RigError
from triggers.lock import DeviceLock

CAMERA = "width_px = 96\nheight_px = 96\nbody_px = 20.0"
LASER = """
[rules.always]
any_pair = ["a", "b"]
when = "distance(a, b) > 0 px"
when_unknown = "release"
[triggers.laser]
driver = "simulated"
[stimuli.light]
rule = "always"
triggers = ["laser"]
channel = 0
duration_ms = 20
"""

STAYS_ON = "this device does not switch off by itself; what is on when the loop dies ends when it was to end, or never"
GOES_UNNOTICED = "this device does not say what it did; a command that is lost or refused goes unnoticed"


@pytest.fixture
def write_rig(tmp_path, rig_text, spot_model):
    """Write a rig with the small model and other sections: `write_rig(more)`."""

    def write(more=""):
        rig = tmp_path / "rig.toml"
        rig.write_text(rig_text(more, camera=CAMERA, model=spot_model))
        return rig

    return write


@pytest.fixture
def parity_of(write_rig):
    """What `check` says of the parity of the small model in a rig."""

    def look(more=""):
        findings = check_rig(write_rig(more))
        return [(finding.level, finding.text) for finding in findings if finding.subject == "parity"]

    return look


def test_an_equal_engine_is_found_equal(parity_of):
    ((level, text),) = parity_of()
    assert level == "ok"
    assert text.startswith("6 points of 2 reference images: median offset ")
    assert text.endswith(" px, p99 0.000 px, tolerance 0.1 px")


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_what_the_model_runs_in_is_told(write_rig, precision):
    rig = write_rig()
    rig.write_text(rig.read_text().replace("[animal]", f'precision = "{precision}"\n[animal]'))
    (text,) = (finding.text for finding in check_rig(rig) if finding.subject == "model")
    assert text == f"exported: 3 nodes, onnxruntime {onnxruntime.__version__}, cpu, fp32"


def test_a_deviation_is_an_error_with_its_sentence(parity_of, spot_model, shift_weights):
    shift_weights(spot_model)
    ((level, text),) = parity_of()
    assert level == "error"
    assert text == (
        f"{spot_model}: not armed: points lie 1.00 px to the left of the reference, all shifted alike: check that "
        "these are its weights, and try another engine, as this one may resize or crop differently "
        f"(tolerance 0.1 px; all numbers: poseloop verify {spot_model} --kind exported --engine onnxruntime "
        "--device cpu --precision fp32)"
    )


def test_a_missing_reference_is_an_error_only_where_outputs_depend_on_it(parity_of, spot_model, forget_reference):
    forget_reference(spot_model)
    assert parity_of() == [("warning", "not checked: the model's folder has no reference")]
    ((level, text),) = parity_of(LASER)
    assert level == "error"
    assert text.startswith(f"{spot_model}: not armed: expected a reference (reference.npz)")


def test_a_damaged_reference_is_an_error(parity_of, spot_model):
    (spot_model / "reference.npz").write_bytes(b"")
    ((level, text),) = parity_of()
    assert level == "error"
    assert text.startswith(f"{spot_model / 'reference.npz'}: expected SHA-256 ")


LEVELLED = """
[calibration]
px_per_mm = 10.0
plane = {{ width_px = {size}, height_px = 96, levelling = [[1, 0, 0], [0, 1, 0], {horizon}] }}
"""


def calibration_of(write_rig, size=96, horizon="[0, 0, 1]"):
    findings = check_rig(write_rig(LEVELLED.format(size=size, horizon=horizon)))
    return [(finding.level, finding.text) for finding in findings if finding.subject == "calibration"]


def test_a_calibration_for_pictures_of_another_size(tmp_path, write_rig):
    mistake = (
        f"{tmp_path / 'rig.toml'}: $.calibration: expected a calibration for pictures of 96x96 px, as the camera gives "
        "them, got one for 64x96 px; calibrate with the camera as it is now, or write px_per_mm"
    )
    assert calibration_of(write_rig, size=64) == [("error", mistake)]
    with pytest.raises(RigError) as caught:
        run_live(Request(rig=str(tmp_path / "rig.toml"), out=str(tmp_path / "session")), StopRequest())
    assert caught.value.mistakes == [mistake]
    assert not (tmp_path / "session").exists()


def test_how_much_of_the_picture_is_levelled(write_rig):
    assert calibration_of(write_rig) == [("ok", "levelled, 10.0000 px/mm")]
    # The horizon is the row 47.5, the middle of the picture.
    assert calibration_of(write_rig, horizon="[0.0, 1.0, -47.5]") == [
        ("ok", "levelled, 10.0000 px/mm"),
        (
            "warning",
            "48% of the picture lies beyond the plane's horizon or where the lens' distortion folds back; for rules an "
            "animal is not seen there",
        ),
    ]


def test_a_trigger_that_a_session_drives_is_left_alone(tmp_path, write_rig):
    address = f"ipc://{tmp_path}/lamp"
    lamp = LASER.replace('driver = "simulated"', f'driver = "zmq"\naddress = "{address}"\npattern = "pub"')
    rig = write_rig(lamp)
    with DeviceLock(address):
        ((level, text),) = [(found.level, found.text) for found in check_rig(rig) if found.subject == "trigger laser"]
    assert level == "error"
    assert text.startswith(f"{address}: expected a device that nobody drives, got one that is driven by process ")


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        pytest.param(
            'driver = "simulated"',
            [("ok", r"simulated at (?P<at>/dev/pts/\d+): acknowledges every command, dead-man switch after 250 ms")],
            id="all there is",
        ),
        pytest.param(
            'driver = "recording"',
            [
                ("ok", r"recording at (?P<at>.*): acknowledges every command, no dead-man switch"),
                ("warning", r"(?P<at>.*): " + STAYS_ON),
            ],
            id="no dead-man switch",
        ),
        pytest.param(
            'driver = "zmq"\naddress = "tcp://127.0.0.1:*"\npattern = "pub"',
            [
                ("ok", r"zmq at (?P<at>tcp://127\.0\.0\.1:\*): acknowledges nothing, no dead-man switch"),
                ("warning", r"(?P<at>.*): " + GOES_UNNOTICED),
                ("warning", r"(?P<at>.*): " + STAYS_ON),
            ],
            id="neither",
        ),
    ],
)
def test_what_a_trigger_does_for_safety_is_shown_and_what_it_does_not_is_a_warning(write_rig, driver, expected):
    rig = write_rig(LASER.replace('driver = "simulated"', driver))
    found = [(finding.level, finding.text) for finding in check_rig(rig) if finding.subject == "trigger laser"]
    assert [level for level, _ in found] == [level for level, _ in expected]
    matches = [re.fullmatch(pattern, text) for (_, pattern), (_, text) in zip(expected, found, strict=True)]
    assert all(matches), found
    assert len({match["at"] for match in matches}) == 1
