import numpy as np
import pytest
from msgspec.structs import replace

from models.poses import Poses
from models.recorded import PoseTable, RecordedModel
from models.skeleton import Skeleton
from models.testing import check_model

BLANK = np.zeros((4, 4), np.uint8)
NAN = np.nan


def poses(xy=((1.0, 2.0), (3.0, 4.0)), scores=(1.0, 0.5)):
    return Poses(np.array([xy], np.float32), np.array([scores], np.float32), np.ones(1, np.float32))


class Reusing(RecordedModel):
    """Hands out the same array for every frame."""

    def predict(self, image, frame_id, expected_xy=None):
        found = super().predict(image, frame_id)
        self.buffer = getattr(self, "buffer", np.zeros((1, 2, 2), np.float32))
        self.buffer[:] = found.xy
        return replace(found, xy=self.buffer)


class Forgetful(RecordedModel):
    """Answers differently the second time."""

    def predict(self, image, frame_id, expected_xy=None):
        found = super().predict(image, frame_id)
        self.calls = getattr(self, "calls", 0) + 1
        return replace(found, xy=found.xy + self.calls)


def model(table, kind=RecordedModel, **names):
    return kind.from_table(PoseTable(table), Skeleton(("a", "b")), **names)


def test_a_good_model_passes():
    check_model(model({0: poses(), 1: poses(((1.0, 2.0), (NAN, NAN)), (1.0, 0.0))}), [BLANK, BLANK])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (model({0: poses(((1, 2), (NAN, 4)), (1, 0))}), "frame 0: xy: expected both of x and y or NaN twice"),
        (model({0: poses(((NAN, NAN), (NAN, NAN)), (0, 0))}), "frame 0: xy: expected a node in every instance"),
        (model({0: poses(((1, 2), (NAN, NAN)))}), "frame 0: node_scores: expected 0 where xy is NaN"),
        (model({0: poses(scores=(1, 1.5))}), "frame 0: node_scores: expected numbers from 0 to 1"),
        (model({0: replace(poses(), instance_scores=np.full(1, NAN, np.float32))}),
         "frame 0: instance_scores: expected finite numbers"),
        (model({0: replace(poses(), xy=np.zeros((1, 3, 2), np.float32))}),
         "frame 0: xy: expected (1, 2, 2) float32, got (1, 3, 2) float32"),
        (model({0: replace(poses(), xy=np.zeros((1, 2, 2)))}),
         "frame 0: xy: expected (1, 2, 2) float32, got (1, 2, 2) float64"),
        (model({0: poses()}, class_names=("x",)), "frame 0: class_probs: expected shape (1, 1)"),
        (model({0: replace(poses(), class_probs=np.full((1, 2), 0.4, np.float32))}, class_names=("x", "y")),
         "frame 0: class_probs: expected rows that sum to 1"),
        (model({0: replace(poses(), class_probs=np.ones((1, 1), np.float32))}),
         "frame 0: class_probs: expected None without class names"),
        (model({0: poses(), 1: poses(((5, 6), (7, 8)))}, Reusing), "frame 0: poses changed after they were returned"),
        (model({0: poses()}, Forgetful), "frame 0: poses differ when predicted again"),
    ],
)  # fmt: skip
def test_a_broken_model_is_told_where(broken, message):
    with pytest.raises(AssertionError) as error:
        check_model(broken, [BLANK, BLANK])
    assert str(error.value) == message
