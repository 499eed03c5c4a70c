"""`sf2f prepare`: sources, resuming, failures, interruption; mel statistics."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sf2f import prepare as prepare_command
from sf2f.data import open_speakers
from sf2f.mel_statistics import compute_mel_statistics
from sf2f.mel_statistics import main as mel_statistics_main
from sf2f.network_config import SpeechConfig
from sf2f.prepare import PrepareError, prepare
from sf2f.recording_sources import SourceError, detect_source
from sf2f.speakers import Speakers
from sf2f.speech import compute_log_mel, compute_log_mel_from_file, read_mel
from voiceface.audio.loading import write_wav

WHOLE = SpeechConfig(remove_silence=False)
QUIET = {"workers": 1, "progress": False}
VOX1 = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
VOX2 = "Class_ID,Name,Sample_Num,Flag,Gender_x,VoxCeleb2ID,VGGFace2ID,Gender_y,Set\n"


def noise(seed: int, seconds: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, int(16000 * seconds)).astype(np.int16)


def write_raw_voxceleb(root: Path) -> Path:
    """Raw recordings of vox1 and vox2, and one of a voice ID without metadata."""
    (root / "vox1").mkdir(parents=True)
    (root / "vox1" / "vox1_meta.csv").write_text(VOX1 + "id10001\tAnn_A.\tf\tUSA\tdev\n")
    (root / "full_vox2_meta.csv").write_text(VOX2 + "n,Bo\u00e9,1,1,m,id00012,n,m,dev\n", "utf-8")
    write_wav(root / "raw_wav/vox1/dev/id10001/a_-b/00002.wav", noise(0))
    write_wav(root / "raw_wav/vox1/test/id10001/c/00001.wav", noise(1))
    write_wav(root / "raw_wav/vox1/dev/id99999/c/00001.wav", noise(2))
    write_wav(root / "raw_wav/vox2/dev/id00012/d/00001.wav", noise(3))
    return root


def write_manifest(root: Path) -> Path:
    """Two identities with one recording and one image each, in subfolders."""
    rows = ["identity,modality,path,gender,nationality,age,split"]
    for at, (name, split) in enumerate([("Ann", "train"), ("Bob", "val")]):
        write_wav(root / "sound" / f"{name}" / "x.wav", noise(at))
        (root / "seen").mkdir(exist_ok=True)
        Image.new("RGB", (5, 5), (at, 0, 0)).save(root / "seen" / f"{name}.png")
        rows += [f"{name},voice,sound/{name}/x.wav,f,,,{split}", f"{name},face,seen/{name}.png,,,,{split}"]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root / "manifest.csv"


def read_failures(out: Path) -> dict[str, str]:
    with (out / "failures.csv").open(newline="") as file:
        return {Path(row["file"]).as_posix(): row["reason"] for row in csv.DictReader(file)}


def test_raw_recordings_of_both_corpora_are_converted(tmp_path: Path) -> None:
    root, out = write_raw_voxceleb(tmp_path / "in"), tmp_path / "out"
    record = prepare(root, out, WHOLE, **QUIET)
    assert record["counts"] == {"written": 3, "skipped": 0, "failed": 1} and not record["complete"]
    generated = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.npz"))
    assert generated == [
        "vox1/mel_spectrograms/Ann_A./id10001_a_-b_00002.npz",
        "vox1/mel_spectrograms/Ann_A./id10001_c_00001.npz",
        "vox2/mel_spectrograms/Bo\u00e9/id00012_d_00001.npz",
    ]
    np.testing.assert_array_equal(read_mel(out / generated[0]), compute_log_mel(noise(0), config=WHOLE))
    with np.load(out / generated[0], allow_pickle=False) as archive:
        assert [str(archive[key]) for key in ("spkid", "clipid", "wavid")] == ["id10001", "a_-b", "00002"]
    assert list(read_failures(out).values()) == ["id99999 has no row in vox1_meta.csv"]
    assert (out / "vox2" / "full_vox2_meta.csv").is_file()
    assert prepare(root, root, WHOLE, **QUIET)["counts"]["written"] == 3  # into the source itself


def test_a_prepared_manifest_opens(tmp_path: Path) -> None:
    out = tmp_path / "out"
    record = prepare(write_manifest(tmp_path), out, WHOLE, dtype="float16", **QUIET)
    assert record["complete"] and not (out / "failures.csv").exists()
    train, val = (open_speakers(out, split) for split in ("train", "val"))
    assert train.identity_names == ("vox1/Ann",) and val.names == ("Bob",) and val.genders == ("f",)
    assert val.load_face(0, 0)[0, 0].tolist() == [1, 0, 0]
    assert Path(train.utterances[0][0]).name == "Ann_sound-Ann_x.npz"
    np.testing.assert_allclose(train.load_mel(0, 0), compute_log_mel(noise(0), config=WHOLE), atol=0.01)
    assert not (tmp_path / "bare" / "vox1" / "masked_faces").exists()
    prepare(tmp_path, tmp_path / "bare", WHOLE, include_faces=False, **QUIET)
    assert not (tmp_path / "bare" / "vox1" / "masked_faces").exists()


def test_a_population_keeps_ground_truth_and_disclaimer(tmp_path: Path) -> None:
    from voiceface.synthetic.layout import build_settings
    from voiceface.synthetic.writer import write_population

    small = {"train": 2, "val": 1, "test": 1, "clips": 1, "clip_seconds": 1.0, "images": 1}
    root, out = tmp_path / "in", tmp_path / "out"
    write_population(root, build_settings("tiny", render_size=16, **small), workers=1, progress=False)
    assert prepare(root, out, dtype="float64", **QUIET)["counts"] == {"written": 4, "skipped": 0, "failed": 0}
    before, after = (open_speakers(place, "train", dtype="float32") for place in (root, out))
    assert (
        before.names == after.names
        and before.genders == after.genders
        and before.disclaimer == after.disclaimer
    )
    np.testing.assert_array_equal(before.ground_truth.face_factors, after.ground_truth.face_factors)
    for who in range(2):
        np.testing.assert_array_equal(before.load_mel(who, 0), after.load_mel(who, 0))
        np.testing.assert_array_equal(before.load_face(who, 0), after.load_face(who, 0))


def test_existing_files_are_kept_and_other_settings_rejected(tmp_path: Path) -> None:
    source, out = write_manifest(tmp_path), tmp_path / "out"
    prepare(source, out, WHOLE, **QUIET)
    (file,) = out.rglob("Ann_*.npz")
    file.write_bytes(b"mine")
    next(iter(out.rglob("Bob_*.npz"))).unlink()
    (file.parent / ".Ann_x.part.npz").touch()
    assert prepare(source, out, WHOLE, **QUIET)["counts"] == {"written": 1, "skipped": 1, "failed": 0}
    assert file.read_bytes() == b"mine" and not list(out.rglob(".*"))
    with pytest.raises(PrepareError, match=r"remove_silence is False there, True now"):
        prepare(source, out, **QUIET)
    with pytest.raises(PrepareError, match="dtype"):
        prepare(source, out, WHOLE, dtype="float16", **QUIET)
    (out / "prepare.json").write_text("{}")
    with pytest.raises(PrepareError, match="cannot be read"):
        prepare(source, out, WHOLE, **QUIET)


def test_failures_are_listed_with_reasons_and_retried(tmp_path: Path) -> None:
    source, out = write_manifest(tmp_path), tmp_path / "out"
    path = tmp_path / "sound" / "Ann" / "x.wav"
    full = path.read_bytes()
    path.write_bytes(full[:500])
    write_wav(tmp_path / "silent.wav", np.zeros(16000, np.int16))
    write_wav(tmp_path / "sound" / "Ann" / "x.flac.wav", noise(3))
    with source.open("a") as file:
        file.write("Cy,voice,silent.wav,m,,,test\nCy,voice,absent.wav,,,,test\nCy,face,no.png,,,,test\n")
    record = prepare(source, out, **QUIET)  # silence is removed: noise of 0.4 s is no voice either
    reasons = {Path(name).name: reason for name, reason in read_failures(out).items()}
    assert not record["complete"] and set(reasons) == {"x.wav", "silent.wav", "absent.wav", "no.png"}
    assert "no voice found" in reasons["silent.wav"] and "no such" in reasons["no.png"]
    truncated = read_failures(out)[path.as_posix()]
    assert truncated.startswith("truncated") and str(path) not in truncated
    path.write_bytes(full)
    again = prepare(source, tmp_path / "all", WHOLE, **QUIET)
    assert again["counts"] == {"written": 3, "skipped": 0, "failed": 2}


def test_an_interrupted_run_can_be_resumed(tmp_path: Path, monkeypatch) -> None:
    from sf2f import speech

    source, out, calls = write_manifest(tmp_path), tmp_path / "out", []

    def stopped(path, config):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compute_log_mel_from_file(path, config)

    with monkeypatch.context() as patch:
        patch.setattr(speech, "compute_log_mel_from_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, out, WHOLE, **QUIET)
    state = json.loads((out / "prepare.json").read_text())
    assert state["complete"] is False and state["counts"]["written"] == 1
    assert len(list(out.rglob("*.npz"))) == 1 and not list(out.rglob(".*"))
    assert prepare(source, out, WHOLE, **QUIET)["counts"] == {"written": 1, "skipped": 1, "failed": 0}


def test_two_recordings_never_share_a_feature_file(tmp_path: Path) -> None:
    source = write_manifest(tmp_path)
    write_wav(tmp_path / "sound-Ann" / "x.wav", noise(9))
    with source.open("a") as file:
        file.write("Ann,voice,sound-Ann/x.wav,,,,train\n")
    prepare(source, tmp_path / "out", WHOLE, **QUIET)
    (reason,) = read_failures(tmp_path / "out").values()
    assert reason.startswith("its feature file would have the same name as")


def test_invalid_sources_name_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        detect_source(tmp_path / "absent")
    with pytest.raises(SourceError, match=r"manifest\.csv, raw_wav"):
        detect_source(tmp_path)
    (tmp_path / "wav").mkdir()
    with pytest.raises(FileNotFoundError, match=r"vox1_meta\.csv"):
        detect_source(tmp_path)
    (tmp_path / "vox1_meta.csv").write_text(VOX1)
    with pytest.raises(SourceError, match="no recordings"):
        detect_source(tmp_path)
    (tmp_path / "manifest.csv").write_text(
        "identity,modality,path,gender,nationality,age,split\nA,voice,a.wav,,,,train\nA,voice,b.wav,,,,val\n"
    )
    with pytest.raises(SourceError, match="A is in both train and val"):
        detect_source(tmp_path)


def test_a_manifest_without_splits_is_split_by_its_rows(tmp_path: Path) -> None:
    rows = [f"N{i:02d},voice,{i}.wav" for i in range(11)]
    (tmp_path / "manifest.csv").write_text("identity,modality,path\n" + "\n".join(rows) + "\n")
    split = detect_source(tmp_path).split
    assert split["vox1"]["test"] == ["N08"] and split["vox1"]["val"] == ["N09"]


def test_the_command_reports_counts_and_exits_with_one_after_failures(tmp_path: Path, capsys) -> None:
    source, out = write_manifest(tmp_path), tmp_path / "out"
    words = [str(source), "--out", str(out), "--quiet", "--workers", "1"]
    assert prepare_command.main([*words, "remove_silence=false"]) == 0
    assert "2 written, 0 skipped, 0 failed" in capsys.readouterr().out
    (tmp_path / "sound" / "Ann" / "x.wav").write_text("no audio")
    next(iter(out.rglob("Ann_*.npz"))).unlink()
    assert prepare_command.main([*words, "remove_silence=false"]) == 1
    assert "failures.csv" in capsys.readouterr().err
    for wrong, word in (("remove_silenc=false", "remove_silence"), ("sample_rates", "key=value")):
        with pytest.raises(ValueError, match=word):
            prepare_command.main([*words, wrong])
    with pytest.raises(SystemExit):
        prepare_command.main([*words[:-1], "0"])


@pytest.mark.slow  # processes begin from nothing
def test_several_processes_write_the_same_files(tmp_path: Path) -> None:
    root = write_raw_voxceleb(tmp_path / "in")
    prepare(root, tmp_path / "one", WHOLE, **QUIET)
    prepare(root, tmp_path / "two", WHOLE, workers=2, progress=False)
    for path in (tmp_path / "one").rglob("*.npz"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        np.testing.assert_array_equal(read_mel(path), read_mel(other))


def make_speakers(*speakers: list[np.ndarray]) -> Speakers:
    count = len(speakers)
    return Speakers(
        tuple("abc"[:count]), ("",) * count, tuple(map(tuple, speakers)), ((),) * count, ("",) * count
    )


def test_statistics_are_those_of_all_values() -> None:
    rng = np.random.default_rng(0)
    actual, other = [rng.normal(10, 3, (40, n)) for n in (50, 20)], [rng.normal(13, 2, (40, 7))]
    found = compute_mel_statistics(make_speakers(actual, other), weighting="frames")
    values = np.concatenate([*actual, *other], 1)
    assert found == pytest.approx((values.mean(), values.std(), 2, 3, 77))
    found = compute_mel_statistics(make_speakers(actual, other))
    first = np.concatenate(actual, 1)
    mean = (first.mean() + other[0].mean()) / 2
    square = (np.square(first).mean() + np.square(other[0]).mean()) / 2
    assert found[:2] == pytest.approx((mean, np.sqrt(square - mean**2)))
    assert compute_mel_statistics(make_speakers(actual, other), max_utterances=1).num_utterances == 2
    with pytest.raises(ValueError, match="no utterances"):
        compute_mel_statistics(make_speakers())


def test_statistics_of_a_folder_are_printed_as_overrides(tmp_path: Path, capsys) -> None:
    prepare(write_manifest(tmp_path), tmp_path / "out", WHOLE, **QUIET)
    assert mel_statistics_main([str(tmp_path / "out"), "--quiet", "--workers", "1"]) == 0
    values = compute_log_mel(noise(0), config=WHOLE).astype(float)
    expected = f"data.mel.mean={values.mean():.4f} data.mel.std={values.std():.4f}"
    assert expected in capsys.readouterr().out
