"""What a wrong input is told: file or key, what was found, what was expected, and how to mend it."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
import torch
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


def test_an_empty_folder_tells_what_was_looked_for(call: Call, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "data").mkdir()
    assert call("train", "--cfg", "main", "--data", tmp_path / "data", "--out", tmp_path / "run") == 1
    says(capsys.readouterr().err, tmp_path / "data", "manifest.csv", "vox1_train.csv", "vox1_meta.csv")


def test_folders_that_are_gone(data: Path, clip: Path, picture: Path, fails: Any, works: Any) -> None:
    shutil.rmtree(clip.parents[1])
    shutil.rmtree(picture.parent)
    says(fails(), "2 folders", clip.parents[1], picture.parent, "--missing skip")
    works("--missing", "skip")


def test_a_person_without_clips(data: Path, clip: Path, fails: Any, works: Any) -> None:
    for path in clip.parents[1].rglob("*.wav"):
        path.unlink()
    says(fails(), "1 of 10 identities cannot be paired", clip.parents[1].name, "no clips")
    works("--missing", "skip")


def test_everything_gone(data: Path, fails: Any) -> None:
    shutil.rmtree(data / "faces")
    says(fails(), data, "faces")


def test_a_table_with_a_broken_line(data: Path, fails: Any) -> None:
    table = next(
        path for path in (data / "list_wav" / "vox1_train.csv", data / "vox1_meta.csv") if path.exists()
    )
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], "only one field", *lines[3:]]) + "\n")
    says(fails(), table.name, "3")


def test_too_few_people_for_a_batch(fails: Any) -> None:
    says(fails("training.batch_size=64"), "10", "batch of 64", "lower the batch size")


# recordings and pictures


@pytest.mark.parametrize("where", ["data.in_memory=true", "data.in_memory=false"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", ["empty file"]), (b"no sound at all", ["cannot be decoded"]), (None, ["truncated"])],
)
def test_a_damaged_wav(
    data: Path, clip: Path, fails: Any, content: bytes | None, words: list[str], where: str
) -> None:
    for path in clip.parents[1].rglob("*.wav"):
        path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    message = fails(where, "training.batch_size=10")
    says(message, clip.parents[1].name)
    if content is not None:
        says(message, *words)


def test_a_wav_without_samples(clip: Path, fails: Any) -> None:
    soundfile.write(clip, np.zeros(0), 16_000)
    says(fails(), clip, "no samples")


def test_a_damaged_m4a(
    data: Path, clip: Path, call: Call, trained: Path, tmp_path: Path, capsys: Any
) -> None:
    for name, content in (("empty.m4a", b""), ("torn.m4a", b"\0\0\0\x20ftypM4A " + b"\1" * 400)):
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / "empty.m4a", tmp_path / "torn.m4a", clip]
    assert call("embed", *files, "--weights", trained, "--out", tmp_path / "t.npz") == 1
    says(capsys.readouterr().err, "skipped", files[0], "empty file", files[1])


def test_another_rate(data: Path, clip: Path, fails: Any, works: Any) -> None:
    tone = 0.3 * np.sin(np.arange(44_100) / 20)
    soundfile.write(clip, tone, 44_100)
    says(fails(), clip, "44100", "16000", "resample")
    works("data.resample=true")


def test_stereo_and_eight_bits_can_be_trained_on(data: Path, clip: Path, works: Any) -> None:
    tone = 0.3 * np.sin(np.arange(16_000) / 9)
    soundfile.write(clip, np.stack([tone, tone], axis=1), 16_000)
    other = next(path for path in clip.parents[1].rglob("*.wav") if path != clip)
    soundfile.write(other, tone, 16_000, subtype="PCM_U8")
    works()


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_a_picture_that_is_none(picture: Path, fails: Any, content: bytes) -> None:
    picture.write_bytes(content)
    says(fails(), picture, "picture")


def test_grey_and_cmyk_pictures_can_be_trained_on(picture: Path, works: Any) -> None:
    from PIL import Image

    cv2.imwrite(str(picture), cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE))
    other = next(path for path in picture.parent.glob("*.jpg") if path != picture)
    Image.open(other).convert("CMYK").save(other)
    works()


# weights


@pytest.mark.parametrize("flag", ["--checkpoint", "--id-weights", "--face-backbone", "--voice-backbone"])
def test_weights_that_are_not_there_or_run_code(fails: Any, tmp_path: Path, flag: str) -> None:
    says(fails(flag, tmp_path / "absent.pth"), flag, tmp_path / "absent.pth")
    mark, file = tmp_path / "mark", tmp_path / "evil.pth"
    torch.save({"center.weight": MaliciousPickle(mark)}, file)
    says(fails(flag, file), file)
    file.write_bytes(pickle.dumps(MaliciousPickle(mark)))
    says(fails(flag, file), file)
    assert not mark.exists()


def test_a_malicious_checkpoint_cannot_be_loaded(call: Call, clip: Path, tmp_path: Path, capsys: Any) -> None:
    mark, file = tmp_path / "mark", tmp_path / "evil.pth.tar"
    torch.save({"state_dict": {"F.cls.weight": MaliciousPickle(mark)}}, file)
    for command in (
        ["embed", clip, "--out", tmp_path / "t.npz"],
        ["match", clip, "--gallery", tmp_path],
        ["test", "--data", tmp_path, "--out", tmp_path / "o"],
    ):
        assert call(*command, "--weights", file) == 1
        says(capsys.readouterr().err, "error: ")
    assert not mark.exists()


def test_damaged_and_foreign_weights(
    call: Call, clip: Path, trained: Path, fails: Any, tmp_path: Path, capsys: Any
) -> None:
    whole = trained / "model.safetensors"
    torn, flipped, foreign = (tmp_path / f"{name}.safetensors" for name in ("torn", "flipped", "foreign"))
    corrupt_files.write_truncated(whole, torn)
    corrupt_files.write_bit_flipped(whole, flipped)
    loaded = load_model(whole)
    save_model(foreign, loaded.state, system="sf2f", kind="model", config={})
    for file, words in (
        (torn, ["truncated"]),
        (flipped, ["damaged"]),
        (foreign, ["another system", "sf2f", "seeking_shape"]),
    ):
        assert call("embed", clip, "--weights", file, "--out", tmp_path / "t.npz") == 1
        says(capsys.readouterr().err, file, *words)
        says(fails("--checkpoint", file), file, *words)
        assert call("extract_id_weight", file, "--out", tmp_path / "w.safetensors") == 1
        says(capsys.readouterr().err, file, *words)


def test_weights_of_another_architecture(fails: Any, trained: Path) -> None:
    message = fails("--checkpoint", trained / "model.safetensors", "model.embedding_dim=8")
    says(message, "model.safetensors", "architecture", "(8,", "(16,")


def test_a_gpu_that_is_not_there(
    call: Call, people: Path, clip: Path, trained: Path, tmp_path: Path, capsys: Any
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for command in (
        ["train", "--cfg", "main", "--data", people, "--out", tmp_path / "run"],
        ["embed", clip, "--weights", trained, "--out", tmp_path / "t.npz"],
        ["match", clip, "--gallery", people / "faces", "--weights", trained],
        ["test", "--data", people, "--weights", trained, "--out", tmp_path / "o"],
    ):
        assert call(*command, "--device", "cuda") == 1
        says(capsys.readouterr().err, "cuda", "--device cpu")


# folders of runs


def test_a_folder_with_something_in_it(fails: Any, works: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").touch()
    says(fails(), tmp_path / "run", "not empty", "letter.txt", "--resume")
    (tmp_path / "run" / "letter.txt").unlink()
    works()
    says(fails(), "not empty", "--resume", "--out")


def test_nothing_to_resume(fails: Any, tmp_path: Path) -> None:
    says(fails("--resume"), "nothing to resume", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_without_people_for_it(data: Path, fails: Any, works: Any) -> None:
    table = data / "list_wav" / "vox1_val.csv"
    if table.exists():
        table.write_text(table.read_text().splitlines()[0] + "\n")
    message = fails("training.validation_interval=1", "training.validation_start=1")
    says(message, "val")
    works()
