"""The three evaluations: metrics against scikit-learn, crops, leaks, published lists in small."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmpc2
import numpy as np
import pytest
import torch
from cmpc2.audio_frontend import load_log_mel
from cmpc2.evaluation import (
    MediaPaths,
    embed_trial_list,
    evaluate_trial_lists,
    find_trial_lists,
    item_rows,
    sample_voice_clips,
    training_overlap_warning,
)
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.published import get_training_identities, identify_published_model
from cmpc2.verification import corner_eer, mean_view_scores, verification_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from voiceface.commandline.exit_status import INCOMPLETE
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.evaluation.results import Results
from voiceface.runtime.progress import progress_bar

Call = Callable[..., int]


# metrics


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=40))
def test_metrics_equal_those_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([a / 8 for a, _ in pairs]), np.array([int(b) for _, b in pairs])
    if labels.min() == labels.max():
        return
    result = verification_metrics(torch.from_numpy(scores), torch.from_numpy(labels))
    alarm, hit, _ = roc_curve(labels, scores)
    assert result["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert result["eer"] == pytest.approx(alarm[np.nanargmin(np.abs((1 - hit) - alarm))])


def test_error_rate_of_a_large_set_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 3000)
    scores = (rng.normal(size=3000) + labels).round(2)
    alarm, hit, _ = roc_curve(labels, scores)
    computed = float(corner_eer(torch.from_numpy(scores), torch.from_numpy(labels)))
    assert computed == pytest.approx(alarm[np.argmin(np.abs((1 - hit) - alarm))])


def test_views_are_averaged_without_normalisation() -> None:
    voices = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    faces = torch.tensor([[[2.0, 6.0]]])
    assert mean_view_scores(voices, faces).item() == pytest.approx(1.0)


# crops


def test_clips_are_functions_of_seed_row_and_view(population: Path) -> None:
    wav = next((population / "wav").rglob("*.wav"))
    config = VoiceFrontendConfig(num_frames=30)
    whole = load_log_mel(wav, config)
    views = sample_voice_clips(wav, config, 5, (0, 17))
    assert views.shape == (5, 1, 64, 30)
    assert np.array_equal(views, sample_voice_clips(wav, config, 5, (0, 17)))
    assert np.array_equal(views[:2], sample_voice_clips(wav, config, 2, (0, 17)))
    assert not np.array_equal(views, sample_voice_clips(wav, config, 5, (0, 18)))
    assert not np.array_equal(views, sample_voice_clips(wav, config, 5, (1, 17)))
    for view in views:
        assert any(np.array_equal(whole[:, i : i + 30], view[0]) for i in range(whole.shape[1] - 29))


# lists


@pytest.fixture(scope="module")
def corpus(population: Path) -> Corpus:
    return open_corpus(population, "test", face_root=population / "unzippedFaces")


@pytest.fixture(scope="module")
def places(population: Path) -> MediaPaths:
    return MediaPaths(population / "wav", population / "unzippedFaces")


def write_lists(folder: Path, corpus: Corpus) -> Path:
    """CMPC's lists in small, in the published forms."""
    population = corpus.records
    (folder / "matching").mkdir(parents=True)
    (folder / "veriflist").mkdir()
    (folder / "retrieval").mkdir()
    match: dict[str, list[str]] = {"v2f": [], "f2v": []}
    verify = ["id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"]
    for i, record in enumerate(population):
        other = population[(i + 1) % len(population)]
        for clip in record.voices:
            match["v2f"].append(" ".join([clip, record.faces[0], other.faces[0]]))
            _, video, name = clip.split("/")
            voice = f"{record.identity.face_id}/{video}_00{name}"
            for right in (record, other):
                face = right.faces[0].replace("/1.6/", "/")
                verify.append(f"{len(verify)},{i},0,{int(right is record)},{voice},{face}")
        match["f2v"].append(" ".join([record.faces[0], record.voices[0], other.voices[0]]))
    for way, lines in match.items():
        (folder / "matching" / f"matching_{way}_U.csv").write_text("\n".join(lines) + "\n")
    (folder / "veriflist" / "veriflist_test_random_unseenunheard.txt").write_text("\n".join(verify) + "\n")
    for what, kind in (("wav", "voices"), ("jpg", "faces")):
        table = [f"{p.identity.voice_id}\t{item}" for p in population for item in getattr(p, kind)]
        text = "\n".join([f"VoxCeleb1 ID\t{what}", *table]) + "\n"
        (folder / "retrieval" / f"{what}_20k.csv").write_text(text)
    return folder


@pytest.fixture(scope="module")
def lists(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(tmp_path_factory.mktemp("cmpc") / "lists", corpus)


def test_all_lists_are_found_in_order_of_their_strata(lists: Path) -> None:
    assert [path.name for path in find_trial_lists(lists)] == [
        "matching_f2v_U.csv",
        "matching_v2f_U.csv",
        "veriflist_test_random_unseenunheard.txt",
        "wav_20k.csv",
        "jpg_20k.csv",
    ]
    assert [path.name for path in find_trial_lists(lists, ["jpg_20k"])] == ["jpg_20k.csv"]
    with pytest.raises(FileNotFoundError, match="matching_v2f_GN"):
        find_trial_lists(lists, ["matching_v2f_GN"])


def test_row_of_an_item_is_its_first_occurrence(lists: Path, corpus: Corpus) -> None:
    result = read_trial_list(lists / "matching" / "matching_v2f_U.csv", corpus)
    rows = item_rows(result)
    lines = (lists / "matching" / "matching_v2f_U.csv").read_text().splitlines()
    for side, items in (("v", result.voices), ("f", result.faces)):
        for item in items:
            assert rows[side][item] == next(i for i, line in enumerate(lines) if item in line.split(" "))


def test_embeddings_do_not_depend_on_the_number_of_workers(
    trained: Path, lists: Path, corpus: Corpus, places: MediaPaths
) -> None:
    model = cmpc2.load_embedder(trained)
    result = read_trial_list(lists / "veriflist" / "veriflist_test_random_unseenunheard.txt", corpus)
    one, other = (embed_trial_list(model, result, places, workers=workers) for workers in (1, 3))
    for a, b in zip(one, other):
        assert np.array_equal(a.vectors, b.vectors)


def test_verification_averages_five_clips_and_two_images(
    trained: Path, lists: Path, corpus: Corpus, places: MediaPaths
) -> None:
    model = cmpc2.load_embedder(trained)
    result = read_trial_list(lists / "veriflist" / "veriflist_test_random_unseenunheard.txt", corpus)
    voices, faces = embed_trial_list(model, result, places)
    item, face = result.voices[3], result.faces[2]
    clips = sample_voice_clips(
        places.voice_path(item), model.voice_config, 5, (0, item_rows(result)["v"][item])
    )
    wanted = model.encode_voices(torch.from_numpy(clips)).mean(0)
    assert np.allclose(voices.take([item]).vectors[0], wanted, atol=1e-5)
    image = torch.from_numpy(model.load_face(places.face_path(face)))
    both = model.encode_faces(torch.stack([image, image.flip(2)])).mean(0)
    assert np.allclose(faces.take([face]).vectors[0], both, atol=1e-5)


def test_identities_of_the_bank_are_marked(
    trained: Path, lists: Path, corpus: Corpus, places: MediaPaths, caplog: Any
) -> None:
    model = cmpc2.load_embedder(trained)
    questions = [read_trial_list(lists / "matching" / "matching_v2f_U.csv", corpus)]
    clean, *_ = evaluate_trial_lists(model, questions, corpus, places, replicates=0)
    assert not clean.leaked and training_overlap_warning(clean) == ""
    bank = [corpus.names[1], corpus.names[4]]
    marked, *_ = evaluate_trial_lists(
        model, questions, corpus, places, replicates=0, training_identities=bank
    )
    assert marked.leaked == tuple(bank)
    assert training_overlap_warning(marked).startswith(
        f"2 of the {len(corpus)} evaluated identities have videos"
    )
    assert (
        "2 identities are in the training data" in marked.table()
        and "are in the training data" in caplog.text
    )
    assert marked.lists[0].main_metric.value == clean.lists[0].main_metric.value


def test_published_error_rate_is_an_option(
    trained: Path, lists: Path, corpus: Corpus, places: MediaPaths
) -> None:
    model = cmpc2.load_embedder(trained)
    questions = [read_trial_list(lists / "veriflist" / "veriflist_test_random_unseenunheard.txt", corpus)]
    rate = {}
    for rule in ("interpolated", "corner"):
        chosen = model.config.evaluation.model_copy(update={"eer_method": rule})
        model.config = model.config.model_copy(update={"evaluation": chosen})
        results, *_ = evaluate_trial_lists(model, questions, corpus, places, replicates=0)
        rate[rule] = results.lists[0].metrics["eer"].value
    scores, labels = results.lists[0].scores, results.lists[0].labels
    assert scores is not None and labels is not None
    alarm, hit, _ = roc_curve(labels, scores)
    assert rate["corner"] == pytest.approx(alarm[np.argmin(np.abs((1 - hit) - alarm))])


def test_training_identities_of_a_published_model_follow_from_its_name() -> None:
    population = [
        Identity(name, f"id{i}", name, "f", "", split)
        for i, (name, split) in enumerate(
            [("Eva_A", "train"), ("Fay_B", "test"), ("Zoe_C", "val"), ("Ann_D", "test")]
        )
    ]
    assert get_training_identities(
        identify_published_model("weights/checkpoint_CMPC.pth.tar"), population
    ) == [
        "Eva_A",
        "Zoe_C",
    ]
    assert get_training_identities(identify_published_model("model_best_256.pth.tar"), population) == [
        "Fay_B",
        "Zoe_C",
    ]
    assert get_training_identities(identify_published_model("mine.pth.tar"), population) == []


# the command


def test_command_evaluates_every_published_list(
    call: Call, trained: Path, population: Path, lists: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [
        "--weights",
        trained,
        "--data",
        population,
        "--lists",
        lists,
        "--out",
        out,
        "--bootstrap-samples",
        "20",
    ]
    assert call("test", *words) == 0
    result = json.loads((out / "results.json").read_text())
    assert [(each["kind"], each["direction"]) for each in result["lists"]] == [
        ("match", "f2v"),
        ("match", "v2f"),
        ("verify", "v2f"),
        ("retrieval", "v2f"),
        ("retrieval", "f2v"),
    ]
    assert result["leaked_identities"] == [] and "a synthetic population" in (out / "report.html").read_text()


def test_command_accepts_a_bank_and_warns(
    call: Call, trained: Path, population: Path, lists: Path, corpus: Corpus, tmp_path: Path, capsys: Any
) -> None:
    from cmpc2.prototype_retrieval import TrainingVideo, write_training_table

    known = corpus.records[0].identity
    write_training_table(
        tmp_path / "bank.csv", [TrainingVideo(known.face_id, "1", known.voice_id, "f", "", "dev", "v")]
    )
    words = ["--weights", trained, "--data", population, "--lists", lists, "--list", "matching_v2f_U"]
    assert call("test", *words, "--table", tmp_path / "bank.csv", "--out", tmp_path / "out") == 0
    assert "1 of the 6 evaluated identities have videos among the training videos" in capsys.readouterr().err
    report = (tmp_path / "out" / "report.html").read_text()
    assert "not those of unseen identities" in report


def test_stored_features_replace_utterances(
    call: Call, trained: Path, population: Path, lists: Path, tmp_path: Path
) -> None:
    assert call("features", population / "wav", "--out", tmp_path / "spec") == 0
    words = ["test", "--weights", trained, "--data", population, "--lists", lists, "--bootstrap-samples", "0"]
    assert call(*words, "--out", tmp_path / "a") == 0
    assert call(*words, "--out", tmp_path / "b", "--voice-root", tmp_path / "spec") == 0
    one, other = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert [each["metrics"] for each in one["lists"]] == [each["metrics"] for each in other["lists"]]


def test_missing_files_are_an_error_or_skipped(
    call: Call, trained: Path, population: Path, lists: Path, tmp_path: Path, capsys: Any
) -> None:
    shutil.copytree(population / "wav", tmp_path / "wav")
    shutil.rmtree(next(path for path in sorted((tmp_path / "wav").iterdir()) if path.name == "id10117"))
    words = ["test", "--weights", trained, "--data", population, "--lists", lists, "--list", "matching_v2f_U"]
    words += ["--voice-root", tmp_path / "wav", "--bootstrap-samples", "0"]
    assert call(*words, "--out", tmp_path / "a") == 1
    message = capsys.readouterr().err
    assert (
        "matching_v2f_U: 2 of 18 listed files are missing: id10117/" in message
        and "--missing skip" in message
    )
    assert call(*words, "--out", tmp_path / "b", "--missing", "skip") == 0
    result = json.loads((tmp_path / "b" / "results.json").read_text())["lists"][0]
    assert result["counts"]["skipped"] == 2


@pytest.fixture
def flawed_lists(lists: Path, tmp_path: Path) -> Path:
    """CMPC's lists; files of one are all absent, one has matching pairs only, one is no list."""
    folder = Path(shutil.copytree(lists, tmp_path / "lists"))
    path = folder / "matching" / "matching_v2f_U.csv"
    path.write_text(path.read_text().replace(".jpg", "_absent.jpg"))
    path = folder / "veriflist" / "veriflist_test_random_unseenunheard.txt"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line for line in lines if line.split(",")[3] == "1")]) + "\n")
    (folder / "matching" / "matching_v2f_G.csv").write_text("only_one_item\n")
    return folder


FLAWED = {
    "matching_v2f_U": "no trial remains",
    "matching_v2f_G": "line 1: 1 items",
    "veriflist_test_random_unseenunheard": "matching and mismatching pairs",
}


def test_flawed_lists_do_not_cost_the_results_of_the_others(
    call: Call,
    trained: Path,
    population: Path,
    lists: Path,
    flawed_lists: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def announce(*arguments: Any, **options: Any) -> Any:
        print("encoded now", file=sys.stderr)
        return progress_bar(*arguments, **options)

    words = ["test", "--weights", trained, "--data", population, "--bootstrap-samples", "20"]
    assert call(*words, "--lists", lists, "--out", tmp_path / "whole") == 0
    monkeypatch.setattr("voiceface.embeddings.encoding.progress_bar", announce)
    capsys.readouterr()
    flawed = [*words, "--lists", flawed_lists, "--missing", "skip", "--out", tmp_path / "out"]
    assert call(*flawed) == INCOMPLETE
    printed = capsys.readouterr()
    whole, result = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "out"))
    reasons = {each["name"]: each["reason"] for each in result["unavailable"]}
    assert result["lists"] == [each for each in whole["lists"] if each["name"] not in reasons]
    assert set(reasons) == set(FLAWED) and len(result["lists"]) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    for name, reason in reasons.items():
        assert FLAWED[name] in reason and f"not computed: {name}: {reason}" in printed.out and name in page
        assert printed.err.index(f"not computed: {name}") < printed.err.index("encoded now")


def test_absent_files_of_all_lists_are_named_before_anything_is_encoded(
    call: Call, trained: Path, population: Path, flawed_lists: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["test", "--weights", trained, "--data", population, "--lists", flawed_lists]
    for options in ([], ["--missing", "skip", *(word for name in FLAWED for word in ("--list", name))]):
        assert call(*words, *options, "--out", tmp_path / "out") == 1
        message = capsys.readouterr().err
        assert all(f"{name}: " in message for name in FLAWED)
        assert not (tmp_path / "out").exists()  # no cache of embeddings either
    (tmp_path / "nobody").mkdir()
    assert call(*words, "--face-root", tmp_path / "nobody", "--out", tmp_path / "out") == 1
    assert "matching_f2v_U: 6 of" in capsys.readouterr().err


def test_results_of_published_lists_are_written_one_after_the_other(
    trained: Path, lists: Path, corpus: Corpus, places: MediaPaths, monkeypatch: Any
) -> None:
    model = cmpc2.load_embedder(trained)
    found = [read_trial_list(path, corpus) for path in find_trial_lists(lists)]
    seen: list[Results] = []
    encode = type(model).encode_faces

    def stop_at_the_third(self: Any, batch: torch.Tensor) -> torch.Tensor:
        if len(seen) == 2:
            raise KeyboardInterrupt
        return encode(self, batch)

    monkeypatch.setattr(type(model), "encode_faces", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate_trial_lists(model, found, corpus, places, replicates=0, on_result=seen.append)
    assert [each.name for each in seen[-1].lists] == [each.name for each in found[:2]]
    assert [each.name for each in seen[-1].unavailable] == [each.name for each in found[2:]]
    assert all("not computed yet" in each.reason for each in seen[-1].unavailable)


def test_corpus_with_its_own_lists_is_evaluated_like_by_other_systems(
    call: Call, trained: Path, population: Path, tmp_path: Path
) -> None:
    words = [
        "test",
        "--weights",
        trained,
        "--data",
        population,
        "--generate-lists",
        "1",
        "--out",
        tmp_path / "out",
    ]
    assert call(*words, "--list", "match_v2f_2_test") == 0
    assert (
        json.loads((tmp_path / "out" / "all_pairs.json").read_text())["single"]["g_v2f"]["upper_bound"] == 1.0
    )
