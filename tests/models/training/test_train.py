"""What stops a training before it costs time."""

import shutil

import pytest

from models.errors import TrainingInputError
from models.spec import ModelSpec
from models.training.train import train

sleap_io = pytest.importorskip("sleap_io", reason="needs the extra train")
pytest.importorskip("tensorflow", reason="needs the extra train")

CONFIG = """
type = "centroid"
[data]
labels = "labels.slp"
block_frames = 10
[detector]
filters = 4
stem_stride = 4
fit = { epochs = 1, steps_per_epoch = 1 }
"""


@pytest.fixture
def folder(film, tmp_path):
    for name in ("film.mkv", "labels.slp"):
        shutil.copyfile(film(2) / name, tmp_path / name)
    (tmp_path / "train.toml").write_text(CONFIG)
    return tmp_path


def refusal(folder, **options):
    with pytest.raises(TrainingInputError) as caught:
        train(folder / "train.toml", folder / "model", **options)
    return str(caught.value)


def test_a_video_that_is_shorter_than_the_labels(folder):
    video = folder / "film.mkv"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert refusal(folder).startswith(f"{video}: expected ")


def test_a_video_that_the_labels_do_not_lie_in(folder):
    move_labels(folder / "labels.slp", 500)
    assert refusal(folder) == (
        f"{folder / 'film.mkv'}: expected images that the labels lie in, got 136×120 px and 1600 of 1600 labels "
        "outside; is it their video?"
    )


def move_labels(path, by_px):
    labels = sleap_io.load_slp(str(path), open_videos=False)
    for frame in labels.labeled_frames:
        for instance in frame.instances:
            instance.points["xy"] += by_px
    labels.save(str(path), embed=False, verbose=False)


def test_stopping_while_the_video_is_read(folder):
    with pytest.raises(KeyboardInterrupt):
        train(folder / "train.toml", folder / "model", stop=lambda: True)


def test_a_folder_with_another_model_is_left_alone(folder):
    out = folder / "model"
    out.mkdir()
    (out / "model.json").write_text("{}")
    (out / "notes.txt").write_text("mine")
    assert refusal(folder) == (
        f"{out}: expected a new folder, got one with model.json in it; go on with the training there with --resume, "
        "or replace it with --overwrite"
    )
    train(folder / "train.toml", out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "model.json").read_text() != "{}"


def test_other_settings_or_labels_are_not_gone_on_with(folder):
    out = folder / "model"
    train(folder / "train.toml", out)
    (folder / "labels.slp").rename(folder / "moved.slp")
    (folder / "train.toml").write_text(CONFIG.replace("labels.slp", "moved.slp"))
    train(folder / "train.toml", out, resume=True)  # the same labels elsewhere
    (folder / "train.toml").write_text(CONFIG.replace("labels.slp", "moved.slp").replace("epochs = 1", "epochs = 5"))
    assert refusal(folder, resume=True) == (
        f"{folder / 'train.toml'}: expected the settings that the training in {out} was begun with: "
        "$.detector.fit.epochs = 1 (now 5); put them back, or start again with --overwrite"
    )
    (folder / "train.toml").write_text(CONFIG.replace("labels.slp", "moved.slp"))
    move_labels(folder / "moved.slp", 1)
    assert "$.labels_sha256 = " in refusal(folder, resume=True)


def test_a_training_that_is_done_is_exported_anew_as_its_file_says_now(folder):
    out = folder / "model"
    train(folder / "train.toml", out)
    learnt = (out / "training" / "history.json").read_text()
    (folder / "train.toml").write_text(f"{CONFIG}[export]\nmax_instances = 3\n")
    train(folder / "train.toml", out, resume=True)
    assert ModelSpec.load(out).max_instances == 3
    assert (out / "training" / "history.json").read_text() == learnt


@pytest.fixture
def trained_twice(folder):
    """A model, and one that starts from it and learns nothing more."""
    train(folder / "train.toml", folder / "first")
    again = f'start_from = "first"\n{CONFIG.replace("epochs = 1", "epochs = 0")}'
    (folder / "again.toml").write_text(again)
    train(folder / "again.toml", folder / "second")
    return folder


def test_a_training_starts_from_a_model_beside_its_file_and_says_so(trained_twice):
    first, second = (ModelSpec.load(trained_twice / name) for name in ("first", "second"))
    assert second.graph == first.graph
    assert second.provenance["started_from"] == {"model": "first", "graph_sha256": first.graph.sha256}
    assert "started_from" not in first.provenance


def test_a_training_from_another_model_is_not_gone_on_with(trained_twice):
    train(trained_twice / "again.toml", trained_twice / "second", resume=True)
    (trained_twice / "train.toml").write_text(f"{CONFIG}[fit]\nseed = 3\n")
    train(trained_twice / "train.toml", trained_twice / "first", overwrite=True)
    with pytest.raises(TrainingInputError, match=r"expected the settings that .* begun with: \$\.start\.graph_sha256"):
        train(trained_twice / "again.toml", trained_twice / "second", resume=True)
