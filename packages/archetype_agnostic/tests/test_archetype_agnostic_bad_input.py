"""What a wrong input is told: file or key, what was found, what was expected, and how to mend it."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from voiceface.association.data import load_split
from voiceface.checkpoints.native import load_model, save_model
from voiceface.testing import corrupt_files
from voiceface.testing.corrupt_files import MaliciousPickle
from voiceface.testing.corrupt_files import assert_mentions as says

Call = Callable[..., int]


@pytest.fixture
def data(people: Path, tmp_path: Path) -> Path:
    """A copy of the people that a test may damage."""
    return Path(shutil.copytree(people, tmp_path / "people"))


@pytest.fixture
def clip(data: Path) -> Path:
    """The first clip of the first training person."""
    return corrupt_files.first_utterance_path(data)


@pytest.fixture
def picture(data: Path) -> Path:
    """The first picture of the first training person."""
    return corrupt_files.first_image_path(data)


@pytest.fixture
def fails(train: Call, data: Path, tmp_path: Path, capsys: Any) -> Callable[..., str]:
    """Train on the damaged copy; it must end with exit code 1 and one message, which is given."""
    return corrupt_files.training_failure_checker(train, tmp_path / "run", data, capsys)


@pytest.fixture
def works(train: Call, data: Path, tmp_path: Path) -> Callable[..., None]:
    """Train on the damaged copy; it must work, in the folder where it failed before."""

    def run(*words: str | Path) -> None:
        assert train(tmp_path / "run", *words, "training.max_steps=1", data=data) == 0

    return run


# folders and tables


def test_no_data_folder(call: Call, tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "main", "--data", tmp_path / "absent", "--out", tmp_path / "run"]
    assert call("train", *words) == 1
    says(capsys.readouterr().err, "--data", "nothing at", tmp_path / "absent")
    assert not (tmp_path / "run").exists()


def test_folders_that_are_gone(clip: Path, picture: Path, fails: Any, works: Any) -> None:
    shutil.rmtree(clip.parents[1])
    shutil.rmtree(picture.parent)
    says(fails(), "2 folders", clip.parents[1], picture.parent, "--missing skip")
    works("--missing", "skip")


def test_a_person_without_clips(clip: Path, fails: Any, works: Any) -> None:
    for path in clip.parents[1].rglob("*.wav"):
        path.unlink()
    says(fails(), "1 of 10 identities cannot be paired", clip.parents[1].name, "no clips")
    works("--missing", "skip")


@pytest.mark.parametrize("second", ["distinct", "with_replacement"])
def test_a_person_with_one_file_of_a_kind_can_be_trained_on(
    data: Path, clip: Path, picture: Path, works: Any, second: str
) -> None:
    """The published code never ends there."""
    for file in [*clip.parents[1].rglob("*.wav"), *picture.parent.iterdir()]:
        if file not in (clip, picture):
            file.unlink()
    corpus = load_split(data, "train")
    assert sorted((len(person.voices), len(person.faces)) for person in corpus.records)[0] == (1, 1)
    works(f"data.second_sample={second}", "training.batch_size=10")


def test_too_few_people_for_a_batch(fails: Any) -> None:
    says(fails("training.batch_size=64"), "10", "batch of 64", "lower the batch size")


def test_validation_without_people_for_it(data: Path, fails: Any, works: Any) -> None:
    table = data / "list_wav" / "vox1_val.csv"
    if table.exists():
        table.write_text(table.read_text().splitlines()[0] + "\n")
    says(fails("training.validation_interval=1", "training.validation_start=1"), "val")
    works()


# recordings and pictures


@pytest.mark.parametrize("where", ["data.in_memory=true", "data.in_memory=false"])
@pytest.mark.parametrize("content", [b"", b"no sound at all"])
def test_a_damaged_wav(clip: Path, fails: Any, content: bytes, where: str) -> None:
    for path in clip.parents[1].rglob("*.wav"):
        path.write_bytes(content)
    says(fails(where, "training.batch_size=10"), clip.parents[1].name)


def test_another_rate(clip: Path, fails: Any, works: Any) -> None:
    soundfile.write(clip, 0.3 * np.sin(np.arange(44_100) / 20), 44_100)
    says(fails(), clip, "44100", "16000", "resample")
    works("data.resample=true")


@pytest.mark.parametrize("scale", ["int16", "native"])
def test_stereo_and_eight_bits_can_be_trained_on(clip: Path, works: Any, scale: str) -> None:
    tone = 0.3 * np.sin(np.arange(16_000) / 9)
    soundfile.write(clip, np.stack([tone, tone], axis=1), 16_000)
    other = next(path for path in clip.parents[1].rglob("*.wav") if path != clip)
    soundfile.write(other, tone, 16_000, subtype="PCM_U8")
    works(f"data.sample_scale={scale}")


def test_a_picture_that_is_none(picture: Path, fails: Any) -> None:
    picture.write_bytes(b"no picture at all")
    says(fails(), picture, "picture")


# the configuration


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("regauging.begin=5", ["regauging.begin"]),
        ("regaugin.start=5", ["regaugin", "regauging"]),
        ("regauging.form=square", ["regauging.form", "square", "hinge"]),
        ("regauging.weighting=none", ["regauging.weighting", "per_row"]),
        ("equilibrium.hit_counting=once", ["equilibrium.hit_counting", "last_window"]),
        ("equilibrium.normalise=sum", ["equilibrium.normalise", "mean_one"]),
        ("loss.temperature=0", ["loss.temperature"]),
        ("loss.cross_constant=0.5", ["loss.cross_constant"]),
        ("data.second_sample=first", ["data.second_sample", "distinct"]),
        ("stopping.patience=1", ["stopping.patience"]),
        ("training.batch_size=1", ["training.batch_size"]),
        ("model.face.arch=ir18", ["model.face.arch", "ir152"]),
        ("model.num_classes=9", ["model.num_classes is 9", "10 training identities"]),
    ],
)
def test_values_that_cannot_be_meant(fails: Any, tmp_path: Path, word: str, parts: list[str]) -> None:
    says(fails(word), *parts)


# weights


@pytest.mark.parametrize("flag", ["--checkpoint", "--face-backbone", "--voice-backbone"])
def test_weights_that_are_not_there_or_run_code(fails: Any, tmp_path: Path, flag: str) -> None:
    says(fails(flag, tmp_path / "absent.pth"), flag, tmp_path / "absent.pth")
    mark, file = tmp_path / "mark", tmp_path / "evil.pth"
    torch.save({"eqm.weight": MaliciousPickle(mark)}, file)
    says(fails(flag, file), file)
    file.write_bytes(pickle.dumps(MaliciousPickle(mark)))
    says(fails(flag, file), file)
    assert not mark.exists()


def test_damaged_and_foreign_weights(trained: Path, fails: Any, tmp_path: Path) -> None:
    whole = trained / "model.safetensors"
    torn, flipped, foreign = (tmp_path / f"{name}.safetensors" for name in ("torn", "flipped", "foreign"))
    corrupt_files.write_truncated(whole, torn)
    corrupt_files.write_bit_flipped(whole, flipped)
    save_model(foreign, load_model(whole).state, system="seeking_shape", kind="model", config={})
    says(fails("--checkpoint", torn), torn, "truncated")
    says(fails("--checkpoint", flipped), flipped, "damaged")
    says(fails("--checkpoint", foreign), foreign, "another system", "seeking_shape", "archetype_agnostic")


def test_weights_of_another_architecture(fails: Any, trained: Path) -> None:
    message = fails("--checkpoint", trained / "model.safetensors", "model.embedding_dim=8")
    says(message, "model.safetensors", "architecture", "(8,", "(16,")


def test_a_gpu_that_is_not_there(call: Call, people: Path, tmp_path: Path, capsys: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    words = ["--cfg", "main", "--data", people, "--out", tmp_path / "run", "--device", "cuda"]
    assert call("train", *words) == 1
    says(capsys.readouterr().err, "cuda", "--device cpu")


# folders of runs


def test_a_folder_with_something_in_it(fails: Any, works: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").touch()
    says(fails(), tmp_path / "run", "not empty", "letter.txt", "--resume")
    (tmp_path / "run" / "letter.txt").unlink()
    works()


def test_nothing_to_resume(fails: Any, tmp_path: Path) -> None:
    says(fails("--resume"), "nothing to resume", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_people_are_no_resumption(
    train: Call, data: Path, clip: Path, tmp_path: Path, capsys: Any
) -> None:
    out, words = tmp_path / "run", ["training.max_steps=1", "--missing", "skip"]
    assert train(out, *words, data=data) == 0
    before = (out / "model.safetensors").read_bytes()
    shutil.rmtree(clip.parents[1])
    assert train(out, *words, "--resume", data=data) == 1
    says(capsys.readouterr().err, out, "training identities (or their order) differ", "9 identities", "--out")
    assert (out / "model.safetensors").read_bytes() == before
