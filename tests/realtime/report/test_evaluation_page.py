import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from models.evaluation import EvaluationOptions, evaluate
from models.evaluation.calibration import calibrate
from models.labels import Labels
from models.skeleton import Skeleton
from realtime.report.evaluation_page import write_evaluation
from realtime.report.evaluation_plots import bias_plot, error_plot, pck_plot, reliability_plot, time_plot

BODY = np.array([[0.0, -20.0], [4.0, 0.0], [0.0, 20.0]])
PLOTS = (pck_plot, error_plot, bias_plot, time_plot)


def labels(
    frames, shift=(0.0, 0.0), nodes=("head", "thorax", "tail"), noise=0.0, source="truth.slp", tracks=None, sure=None
):
    chance = np.random.default_rng(1)
    xy = BODY[: len(nodes)] + 100 + np.array(shift) + chance.normal(0, noise, (len(frames), len(nodes), 2))
    names = ("a",) if tracks is not None else ()
    return Labels.from_arrays(
        Skeleton(nodes), frames, xy, source=source, tracks=tracks, track_names=names, identity_confidence=sure
    )


def unseen(animals, nodes):
    animals.xy[:, nodes] = np.nan
    return animals


CASES = {
    "noisy": (labels(range(400)), labels(range(400), (0.3, -0.2), noise=1.0)),
    "exactly right": (labels(range(5)), labels(range(5))),
    "one frame": (labels([7]), labels([7], (1, 1))),
    "nothing found": (labels(range(5)), labels(range(5), (500, 0))),
    "one node": (labels(range(5), nodes=("head",)), labels(range(5), (1, 0), nodes=("head",))),
    "two nodes": (labels(range(5), nodes=("head", "tail")), labels(range(5), (1, 0), nodes=("head", "tail"))),
    "a node never reported": (labels(range(5)), unseen(labels(range(5), (1, 0)), [1])),
    "a node never labelled": (unseen(labels(range(5)), [1]), labels(range(5), (1, 0))),
    "no node in common": (unseen(labels(range(5)), [0, 1]), unseen(labels(range(5)), [2])),
    "half of the frames": (labels(range(20)), labels(range(0, 20, 2))),
}


@pytest.mark.parametrize(("truth", "predicted"), CASES.values(), ids=CASES)
def test_every_result_can_be_drawn(tmp_path, truth, predicted):
    evaluation = evaluate(truth, predicted, EvaluationOptions(gate_px=10.0))
    for plot in PLOTS:
        drawing = plot(evaluation)
        ET.fromstring(drawing)
        assert not re.search(r"\bnan\b|\binf\b", drawing)
    page = write_evaluation(evaluation, tmp_path / "new" / "folder").read_text()
    assert "nan" not in re.sub(r"<path[^>]*>", "", page)
    json.loads((tmp_path / "new" / "folder" / "evaluation.json").read_text())


def test_what_the_page_says(tmp_path):
    truth = labels(range(100), tracks=[0] * 100)
    predicted = labels(range(90), (0.5, -0.25), source="/runs/<b>fast</b>.slp", tracks=[0] * 90)
    page = write_evaluation(evaluate(truth, predicted), tmp_path)
    assert page == tmp_path / "evaluation.html"
    said = page.read_text()
    for words in ("90.00%", "10 of 100 missed", "+0.50, -0.25", "0.56<small> px", "SLEAP's mAP", "(10 frames)", "HOTA"):
        assert words in said
    assert "<b>fast</b>" not in said
    assert "http" not in re.sub(r"http-equiv", "", said)
    numbers = json.loads((tmp_path / "evaluation.json").read_text())
    assert numbers["detection"]["missed"] == 10
    assert numbers["errors"]["bias_px"] == [0.5, -0.25]


def test_the_curve_ends_where_nodes_are_not_reported():
    truth = labels(range(10))
    predicted = labels(range(10))
    predicted.xy[:5, 0] = np.nan
    drawing = pck_plot(evaluate(truth, predicted))
    right_ends = [float(path.split("L")[-1].split()[1]) for path in re.findall(r' d="(M[^"]*)"', drawing)]
    bottom, top = 348.0, 16.0
    shares = sorted((bottom - y) / (bottom - top) for y in right_ends)
    assert shares == pytest.approx([0.5, 25 / 30, 1, 1], abs=0.001)


def test_the_page_says_how_true_the_confidence_is_or_why_not(tmp_path):
    truth = labels(range(10), tracks=[0] * 10)
    judged = labels(range(10), tracks=[0] * 10, sure=[0.95] * 8 + [0.35] * 2)
    said = write_evaluation(evaluate(truth, judged), tmp_path / "judged").read_text()
    assert "10 instances: confidence <b>0.8300</b> in the mean, <b>100.00 %</b> right" in said
    assert "error <b>0.1700</b>" in said
    assert "<td>0.3 – 0.4</td>" in said
    assert "0.9 to 1.0: 8 instances, confidence 0.950 in the mean, 100.00 % right" in said
    said = write_evaluation(evaluate(truth, labels(range(10), tracks=[0] * 10)), tmp_path / "not").read_text()
    assert "<p>Not evaluated: the predictions carry no identity confidence; files of `poseloop track` with" in said
    assert "still the same animal</text>" not in said


RELIABILITY = {
    "all sure": ([1.0] * 7, [True] * 7, "7"),
    "never sure": ([0.0], [False], "1"),
    "every bin": (np.linspace(0, 1, 3000), np.arange(3000) % 3 == 0, "300"),
    "more than fit over a bar": (np.full(1_230_000, 0.5), np.ones(1_230_000, bool), "1.2 M"),
}


@pytest.mark.parametrize(("confidence", "right", "count"), RELIABILITY.values(), ids=RELIABILITY)
def test_reliability_can_be_drawn(confidence, right, count):
    found = calibrate(confidence, right)
    drawing = reliability_plot(found)
    marks = ET.fromstring(drawing)
    assert not re.search(r"\bnan\b|\binf\b", drawing)
    assert count in [mark.text for mark in marks.iter("text")]
    # A point a bin that has instances, and the one of the legend; a count over each of the ten.
    assert len(list(marks.iter("circle"))) == 1 + sum(one.n > 0 for one in found.bins)
    assert sum("halo" in mark.get("class") for mark in marks.iter("text")) == 10


def test_reliability_shows_share_and_confidence_where_they_are():
    drawing = reliability_plot(calibrate([0.25, 0.25, 0.75, 0.75], [True, False, True, True]))
    left, right, bottom, top = 80.0, 800.0, 348.0, 16.0
    at = [tuple(map(float, one)) for one in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="5"', drawing)]
    assert at[:2] == [
        (left + 0.25 * (right - left), pytest.approx((bottom + top) / 2)),
        (left + 0.75 * (right - left), top),
    ]
