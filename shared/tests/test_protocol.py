"""Protocols: lists and embeddings in, figures, intervals and files out."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from voiceface.commands.evaluate import main, protocol_from_files
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.evaluation.evaluator import _training_overlap, compare, evaluate
from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.results import abbreviate
from voiceface.metrics.retrieval import chance_average_precision

PEOPLE = [
    Identity(f"Person_{i:02}", f"id9{i:04}", f"Person_{i:02}", "mf"[i % 2], "Ireland") for i in range(12)
]


def clip(identity, number):
    return f"id9{identity:04}/video/{number:05}.wav"


def image(identity, number):
    return f"Person_{identity:02}/{number:08}.jpg"


def tables(noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 1, 6))
    found = []
    for item, count in ((clip, 4), (image, 3)):
        vectors = (centres + noise * rng.normal(size=(12, count, 6))).reshape(-1, 6).astype(np.float32)
        names = [item(identity, number) for identity in range(12) for number in range(count)]
        found.append(EmbeddingTable(names, vectors, f"model {noise}"))
    return found


@pytest.fixture
def lists(tmp_path):
    rng = np.random.default_rng(1)
    folder = tmp_path / "lists"
    folder.mkdir()
    match, verify = [], []
    for identity in range(12):
        for number in range(4):
            other = (identity + rng.integers(1, 12)) % 12
            match.append(
                [clip(identity, number), image(identity, rng.integers(3)), image(other, rng.integers(3))]
            )
            who = identity if rng.random() < 0.5 else other
            verify.append([image(identity, number % 3), clip(who, rng.integers(4))])
    retrieval = [
        [clip(p, n) for p in range(12) for n in range(4)],
        [image(p, n) for p in range(12) for n in range(3)],
    ]
    for name, rows in (
        ("match_v2f_2_test", match),
        ("verify_f2v_test", verify),
        ("reterival_v2f_test", retrieval),
    ):
        (folder / f"{name}.txt").write_text("".join(" ".join(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def protocol(lists):
    return protocol_from_files([lists], PEOPLE, name="small", replicates=200)


def cosine(left, right):
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same_figures(protocol):
    here, there = (evaluate(protocol, *tables(), PEOPLE, device=device) for device in ("cpu", "cuda"))
    for one, other in zip(here.lists, there.lists):
        for name, metric in one.metrics.items():
            assert other.metrics[name].value == pytest.approx(metric.value, abs=1e-6)


def test_figures_equal_plain_loops(protocol, lists):
    voices, faces = tables()
    results = evaluate(protocol, voices, faces, PEOPLE)
    vector = dict(zip(voices.items + faces.items, [*voices.vectors, *faces.vectors]))
    rows = [line.split() for line in (lists / "match_v2f_2_test.txt").read_text().splitlines()]
    hits = [cosine(vector[a], vector[b]) > cosine(vector[a], vector[c]) for a, b, c in rows]
    match, verify, found = results.lists
    assert match.main_metric.value == pytest.approx(np.mean(hits))
    assert (
        match.main_metric.chance == 0.5
        and match.main_metric.low <= match.main_metric.value <= match.main_metric.high
    )
    assert match.counts == {"trials": 48, "skipped": 0, "identities": 12, "probes": 48}
    rows = [line.split() for line in (lists / "verify_f2v_test.txt").read_text().splitlines()]
    same = np.array([a[7:9] == b[5:7] for a, b in rows])
    scores = np.array([cosine(vector[a], vector[b]) for a, b in rows])
    auc = np.mean(scores[same][:, None] > scores[~same])
    assert verify.main_metric.value == pytest.approx(auc)
    assert verify.counts["positives"] == same.sum()
    assert verify.trial_values.mean() == pytest.approx((auc * same.sum() + auc * (~same).sum()) / len(same))
    assert found.metrics["map"].chance == pytest.approx(
        chance_average_precision(torch.tensor([3]), 36).item()
    )
    assert set(found.metrics) == {"map", "r1", "r5", "r10"}
    counts = {"trials": 48, "skipped": 0, "without_relevant": 0, "identities": 12, "gallery": 36}
    assert found.counts == counts
    assert len(found.curve["cmc"]) == 36 and found.curve["cmc"][-1] == 1
    assert found.metrics["r1"].value == pytest.approx(found.curve["cmc"][0])
    roc = np.array(verify.curve["roc"])
    assert roc[:, 0].tolist() == [0, 0] and roc[:, -1].tolist() == [1, 1] and (np.diff(roc) >= 0).all()


def test_default_rules(protocol):
    rules = {"tie_breaking": "expected", "seed": 0, "replicates": 1000, "confidence": 0.95}
    rules |= {"cutoffs": [1, 5, 10], "cmc_length": 100, "p_target": 0.05, "strata": ["U"]}
    assert Protocol("defaults", protocol.lists).rules == rules


def test_missing_ids_are_no_overlap_with_the_training_identities():
    evaluated = [replace(PEOPLE[0], face_id=""), PEOPLE[1], replace(PEOPLE[2], voice_id="")]
    foreign = [Identity("Elsewhere", "id80000", ""), Identity("Nowhere", "", "Nowhere")]
    assert _training_overlap(evaluated, [*foreign, ""]) == ()
    assert _training_overlap(evaluated, [*foreign, PEOPLE[2]]) == ("Person_02",)
    assert _training_overlap(evaluated, ["id90000", "Person_01"]) == ("Person_00", "Person_01")


def test_results_on_disk(protocol, tmp_path):
    results = evaluate(protocol, *tables(), PEOPLE)
    results.save(tmp_path / "results.json")
    results.save_text(tmp_path / "result.txt")
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["protocol_sha256"] == protocol.sha256
    assert (
        data["rules"]["tie_breaking"] == "expected"
        and data["rules"]["seed"] == 0
        and data["rules"]["strata"] == ["U"]
    )
    assert data["models"] == {"voices": "model 0.8", "faces": "model 0.8"}
    assert [entry["sha256"] for entry in data["lists"]] == [q.sha256 for q in protocol.lists]
    lines = (tmp_path / "result.txt").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "match_v2f_2_test",
        "verify_f2v_test",
        "reterival_v2f_test",
    ]
    assert float(lines[2].split(" ")[1]) == results.by_name["reterival_v2f_test"].main_metric.value
    assert (
        results.summary_lines().splitlines()[0]
        == f"match_v2f_2_test: {results.lists[0].main_metric.value:.6f}"
    )
    assert evaluate(protocol, *tables(), PEOPLE).to_dict() == results.to_dict()
    rows = results.table().splitlines()[1:]
    assert len(rows) == 1 + 3 + 4
    assert len({re.search(r"\d\.\d{4}", row).end() for row in rows}) == 1  # values stand in one column
    hardest = data["lists"][0]["identities"]
    assert len(hardest) == 12 and hardest[0]["value"] <= hardest[-1]["value"]
    assert sum(row["trials"] for row in hardest) == 48


def test_constant_embedding_gets_chance_everywhere(protocol):
    blind = [replace(table, vectors=np.full_like(table.vectors, 0.3)) for table in tables()]
    for result in evaluate(protocol, *blind, PEOPLE).lists:
        for name, metric in result.metrics.items():
            assert metric.value == pytest.approx(metric.chance, abs=1e-12), name
    published = evaluate(replace(protocol, tie_breaking="first"), *blind, PEOPLE)
    assert published.lists[0].main_metric.value == 1
    assert published.protocol.sha256 != protocol.sha256


def test_absent_items(protocol):
    voices, faces = tables()
    fewer = EmbeddingTable(faces.items[1:], faces.vectors[1:])
    with pytest.raises(EmbeddingError, match=r"Person_00/00000000\.jpg"):
        evaluate(protocol, voices, fewer, PEOPLE)
    results = evaluate(protocol, voices, fewer, PEOPLE, on_missing="skip")
    whole = evaluate(protocol, voices, faces, PEOPLE)
    for part, full in zip(results.lists[:2], whole.lists[:2]):
        assert part.counts["skipped"] > 0
        assert part.counts["trials"] + part.counts["skipped"] == full.counts["trials"]
    assert results.lists[2].counts["gallery"] == 35 and results.lists[2].counts["skipped"] == 1
    with pytest.raises(ValueError, match="skipped different trials"):
        compare(results, whole)


def test_training_people_are_found_in_the_lists(protocol, caplog):
    clean = evaluate(protocol, *tables(), PEOPLE, training_identities=["Somebody_Else"])
    assert clean.leaked == () and not caplog.text
    for training in ([PEOPLE[3], PEOPLE[7]], ["Person_03", "id90007"]):
        leaked = evaluate(protocol, *tables(), PEOPLE, training_identities=training)
        assert leaked.leaked == ("Person_03", "Person_07")
        assert leaked.to_dict()["leaked_identities"] == ["Person_03", "Person_07"]
    assert "2 of 12 evaluated identities are in the training data" in caplog.text
    assert "training data" in leaked.table()


def test_comparing_two_systems(protocol):
    good, bad = (evaluate(protocol, *tables(noise), PEOPLE) for noise in (0.3, 3.0))
    found = compare(good, bad)
    for name, result in good.by_name.items():
        assert found[name].value == pytest.approx(
            result.main_metric.value - bad.by_name[name].main_metric.value
        )
        assert found[name].low > 0 and found[name].p_value < 0.05
    other = evaluate(replace(protocol, seed=1), *tables(), PEOPLE)
    with pytest.raises(ValueError, match="different protocols"):
        compare(good, other)


def test_protocol_rules(protocol, lists):
    trial_list = read_trial_list(lists / "match_v2f_2_test.txt", PEOPLE)
    with pytest.raises(ValueError, match="different names"):
        Protocol("twice", (trial_list, trial_list))
    with pytest.raises(ValueError, match="expected or first"):
        Protocol("rule", (trial_list,), tie_breaking="best")
    assert protocol.strata == ("U",)
    quick = evaluate(replace(protocol, replicates=0), *tables(), PEOPLE)
    assert np.isnan(quick.lists[0].main_metric.low)
    assert quick.to_dict()["lists"][0]["metrics"]["accuracy"]["low"] is None
    assert len(json.dumps(quick.to_dict(), allow_nan=False)) > 0


def test_command_line(protocol, lists, tmp_path, capsys):
    rows = [f"{p.voice_id},{p.face_id},{p.gender},{p.nationality},dev" for p in PEOPLE]
    (tmp_path / "vox1_test.csv").write_text(
        "\n".join(["VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set", *rows, ""])
    )
    for name, noise in (("a", 0.3), ("b", 2.0)):
        for what, table in zip(("voices.npz", "faces.parquet"), tables(noise)):
            table.save(tmp_path / name / what)
    words = [
        "--lists",
        str(lists),
        "--identities",
        str(tmp_path / "vox1_test.csv"),
        "--bootstrap-samples",
        "50",
    ]
    words += [
        "--voices",
        str(tmp_path / "a" / "voices.npz"),
        "--faces",
        str(tmp_path / "a" / "faces.parquet"),
    ]
    words += ["--out", str(tmp_path / "r.json"), "--text", str(tmp_path / "r.txt")]
    words += ["--baseline-voices", str(tmp_path / "b" / "voices.npz")]
    with pytest.raises(SystemExit):
        main(words)
    assert "belong together" in capsys.readouterr().err
    assert main([*words, "--baseline-faces", str(tmp_path / "b" / "faces.parquet")]) == 0
    shown = capsys.readouterr()
    results = evaluate(replace(protocol, name="lists", replicates=50), *tables(0.3), PEOPLE)
    assert (tmp_path / "r.txt").read_text() == results.published_text()
    assert shown.out.startswith(results.summary_lines())
    assert "paired bootstrap" in shown.out and ", Holm " in shown.out
    assert json.loads((tmp_path / "r.json").read_text())["protocol_sha256"] == results.protocol.sha256
    # --data names the identity table and the lists of a split together.
    (tmp_path / "data" / "list_wav").mkdir(parents=True)
    for path in (*lists.iterdir(), tmp_path / "vox1_test.csv"):
        (tmp_path / "data" / "list_wav" / path.name).write_bytes(path.read_bytes())
    same = ["--data", str(tmp_path / "data"), *words[4:-2], "--out", str(tmp_path / "again.json")]
    assert main(same) == 0
    again, before = (json.loads((tmp_path / name).read_text()) for name in ("again.json", "r.json"))
    assert again["lists"] == before["lists"]
    with pytest.raises(FileNotFoundError, match="split 'val'"):
        main([*same, "--split", "val"])


def test_long_lists_of_names_are_abbreviated_after_five():
    assert abbreviate("abcde") == "a, b, c, d, e"
    assert abbreviate("abcdef") == "a, b, c, d, e and 1 more"
    assert abbreviate("abcdefg") == "a, b, c, d, e and 2 more"
