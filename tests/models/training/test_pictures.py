"""Pictures that can be opened, and that show what they should."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from models.training.fit import Epoch
from models.training.pictures import loss_svg, overlay


def epoch(role, number, loss, validation_loss, *, best=True):
    return Epoch(role, number, 30, loss, validation_loss, 1e-3, float(number), best)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_losses_are_drawn_one_panel_a_network(n):
    epochs = [
        epoch(role, k, 0.5 / k, 0.6 / k, best=k < 20) for role in ("detector", "instance") for k in range(1, n + 1)
    ]
    root = ET.fromstring(loss_svg(epochs))
    space = "{http://www.w3.org/2000/svg}"
    lines = root.findall(f"{space}polyline")
    assert [len(line.get("points").split()) for line in lines] == [n] * 4
    texts = [element.text for element in root.findall(f"{space}text")]
    assert {"detector", "instance", "loss", "validation loss", "epoch"} <= set(texts)
    width, height = float(root.get("width")), float(root.get("height"))
    for line in lines:
        points = np.array([[float(v) for v in point.split(",")] for point in line.get("points").split()])
        assert (points >= 0).all()
        assert (points <= (width, height)).all()
        assert (np.diff(points[:, 1]) > 0).all()  # losses fall, and y goes down


def test_a_flat_loss_can_be_drawn():
    ET.fromstring(loss_svg([epoch("network", k, 0.0, 0.0, best=k == 1) for k in (1, 2, 3)]))


def test_labels_and_finds_are_where_they_belong():
    image = np.zeros((200, 200), np.uint8)
    labelled = np.array([[(60, 60), (80, 60)], [(150, 150), (np.nan, np.nan)]], np.float32)
    found = labelled[:1] + np.float32([0, 4])
    drawn = overlay(image, labelled, found, reach_px=30)
    assert drawn.shape == (420, 840, 3)
    zoom = 420 / 60
    # The middle of the first animal's box, (70, 60), is in the middle of its crop.
    x, y = int(209.5 - 10 * zoom), int(209.5 + 4 * zoom)
    assert drawn[y, x].any()  # the cross
    assert drawn[y - 15, x].tolist() != [0, 0, 0]  # the line to the label
    assert not drawn[100, 300].any()


def test_an_image_without_animals_is_a_black_tile():
    drawn = overlay(np.zeros((50, 50), np.uint8), np.empty((0, 2, 2), np.float32), np.empty((0, 2, 2), np.float32), 30)
    assert drawn.shape == (420, 420, 3)
    assert not drawn.any()
