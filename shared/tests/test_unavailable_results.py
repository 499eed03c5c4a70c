"""Lists and metrics that cannot be computed: results, tables, reports, `voiceface evaluate` and `compare`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.exit_status import ERROR, INCOMPLETE, SUCCESS, completeness_status
from voiceface.commands import compare as compare_command
from voiceface.commands import evaluate as evaluate_command
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.coverage import find_obstacle
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.evaluation.evaluator import compare, evaluate
from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.run_averaging import mean_results
from voiceface.metrics.unavailable import UnavailableResult, describe_unavailable
from voiceface.report import build_report

SPEAKERS = [Identity(f"Name_{i}", f"id7{i:04}", f"Name_{i}", "mf"[i % 2], "Norway") for i in range(6)]
USABLE = ["match_v2f_2_test", "verify_v2f_test", "reterival_v2f_test"]
FLAWED = {
    "match_g_f2v_2_test": "none of its 6 trials has all embeddings",
    "verify_g_v2f_test": "verification needs matching and mismatching pairs",
    "reterival_f2v_test": "no query shares an identity with any gallery item",
}


def utterance(i: int) -> str:
    return f"id7{i % 6:04}/video/00001.wav"


def portrait(i: int, folder: str = "") -> str:
    return f"Name_{i % 6}/{folder}1.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with three usable lists and one of each kind that cannot be evaluated."""
    root = tmp_path / "data"
    (root / "list_wav").mkdir(parents=True)
    rows = [f"{p.voice_id},{p.face_id},{p.gender},{p.nationality},test" for p in SPEAKERS]
    table = "\n".join(["VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set", *rows, ""])
    (root / "list_wav" / "vox1_test.csv").write_text(table)
    everybody = range(6)
    pairs = [[utterance(i), portrait(i)] for i in everybody]
    lists = {
        "match_v2f_2_test": [[utterance(i), portrait(i), portrait(i + 1)] for i in everybody],
        "verify_v2f_test": [*pairs, *([utterance(i), portrait(i + 2)] for i in everybody)],
        "reterival_v2f_test": [[utterance(i) for i in everybody], [portrait(i) for i in everybody]],
        "match_g_f2v_2_test": [[portrait(i, "gone_"), utterance(i), utterance(i + 2)] for i in everybody],
        "verify_g_v2f_test": pairs,
        "reterival_f2v_test": [[portrait(0), portrait(1)], [utterance(2), utterance(3)]],
    }
    for name, lines in lists.items():
        text = "".join(" ".join(line) + "\n" for line in lines)
        (root / "list_wav" / f"{name}.txt").write_text(text)
    return root


def build_tables(seed: int) -> tuple[EmbeddingTable, EmbeddingTable]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 5))
    sides = [(centres + 0.5 * rng.normal(size=centres.shape)).astype(np.float32) for _ in range(2)]
    voices = EmbeddingTable([utterance(i) for i in range(6)], sides[0], "model")
    return voices, EmbeddingTable([portrait(i) for i in range(6)], sides[1], "model")


def build_protocol(folder: Path, names: Any) -> Protocol:
    lists = tuple(read_trial_list(folder / "list_wav" / f"{name}.txt", SPEAKERS) for name in names)
    return Protocol("small", lists, replicates=20)


def test_evaluator_computes_what_it_can_and_gives_a_reason_for_the_rest(folder: Path) -> None:
    mixed = [name for pair in zip(FLAWED, USABLE) for name in pair]
    results = evaluate(build_protocol(folder, mixed), *build_tables(0), SPEAKERS, on_missing="skip")
    alone = evaluate(build_protocol(folder, USABLE), *build_tables(0), SPEAKERS)
    assert [each.to_dict() for each in results.lists] == [each.to_dict() for each in alone.lists]
    assert {each.name: FLAWED[each.name] in each.reason for each in results.unavailable} == dict.fromkeys(
        FLAWED, True
    )
    assert results.to_dict()["unavailable"] == [each.to_dict() for each in results.unavailable]
    assert results.table().endswith(describe_unavailable(results.unavailable))
    assert alone.to_dict()["unavailable"] == [] and "not computed" not in alone.table()
    lines = dict(line.split(" ") for line in results.published_text().splitlines())
    assert {name for name, value in lines.items() if np.isnan(float(value))} == set(FLAWED)


def test_evaluator_names_the_problems_of_all_lists_before_it_computes_any(folder: Path) -> None:
    protocol, seen = build_protocol(folder, [*USABLE, *FLAWED]), []
    with pytest.raises(EmbeddingError, match="gone_") as caught:
        evaluate(protocol, *build_tables(0), SPEAKERS, on_result=seen.append)
    assert all(name in str(caught.value) for name in FLAWED) and not seen
    assert not any(f"{name}:" in str(caught.value) for name in USABLE)


def test_results_are_handed_over_after_every_list(folder: Path) -> None:
    seen: list[Any] = []
    protocol = build_protocol(folder, [*USABLE[:2], *FLAWED, USABLE[2]])
    results = evaluate(
        protocol, *build_tables(0), SPEAKERS, on_missing="skip", on_result=lambda each: seen.append(each)
    )
    names = [{each.name for each in (*part.lists, *part.unavailable)} for part in seen]
    assert names == [{each.name for each in protocol.lists}] * len(protocol.lists)
    assert [len(part.lists) for part in seen] == [1, 2, 2, 2, 2, 3]
    assert seen[-1].to_dict() == results.to_dict()
    assert sum("not computed yet" in each.reason for each in seen[0].unavailable) == 5


def test_obstacles_are_those_that_the_metrics_raise(folder: Path) -> None:
    for name in [*USABLE, *FLAWED]:
        (trial_list,) = build_protocol(folder, [name]).lists
        reason = find_obstacle(trial_list, SPEAKERS)
        if name in USABLE or name.startswith("match"):
            assert reason == ""
        else:
            assert FLAWED[name] in reason
            with pytest.raises(ValueError, match=FLAWED[name]):
                evaluate(build_protocol(folder, [name]), *build_tables(0), SPEAKERS, on_missing="skip")


def test_systems_are_compared_on_the_lists_that_both_could_compute(folder: Path) -> None:
    protocol = build_protocol(folder, USABLE)
    whole = evaluate(protocol, *build_tables(0), SPEAKERS)
    voices, faces = build_tables(1)
    other = evaluate(protocol, voices, faces, SPEAKERS)
    missing = UnavailableResult(USABLE[1], "lost")
    partial = replace(other, lists=(other.lists[0], other.lists[2]), unavailable=(missing,))
    both = compare(whole, other)
    for one, two, sign in ((whole, partial, 1), (partial, whole, -1)):
        found = compare(one, two)
        assert [*found] == [USABLE[0], USABLE[2]]
        assert all(found[name].value == pytest.approx(sign * both[name].value) for name in found)
    mean = mean_results([whole, partial])
    assert [each.name for each in mean.lists] == [USABLE[0], USABLE[2]] and mean.unavailable == (missing,)


def write_outputs(folder: Path, seed: int) -> Path:
    folder.mkdir()
    for name, table in zip(("voices.npz", "faces.npz"), build_tables(seed)):
        table.save(folder / name)
    return folder


def test_evaluate_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (write_outputs(tmp_path / name, seed) for seed, name in enumerate("ab"))
    (folder / "list_wav" / "match_v2f_9_test.txt").write_text("only_one_item\n")
    words = ["--voices", f"{one}/voices.npz", "--faces", f"{one}/faces.npz", "--data", str(folder)]
    words += ["--bootstrap-samples", "20", "--out", f"{tmp_path}/r.json"]
    words += ["--baseline-voices", f"{two}/voices.npz", "--baseline-faces", f"{two}/faces.npz"]
    assert run_main(evaluate_command.main, words) == ERROR
    assert "match_v2f_9_test" in capsys.readouterr().err and not (tmp_path / "r.json").exists()
    assert run_main(evaluate_command.main, [*words, "--missing", "skip"]) == INCOMPLETE
    output = capsys.readouterr()
    record = json.loads((tmp_path / "r.json").read_text())
    assert sorted(each["name"] for each in record["lists"]) == sorted(USABLE)
    reasons = {each["name"]: each["reason"] for each in record["unavailable"]}
    assert set(reasons) == {*FLAWED, "match_v2f_9_test"} and "1 items" in reasons["match_v2f_9_test"]
    assert all(f"{name}: {reason}" in output.out for name, reason in reasons.items())
    assert all(f"\n{name}: +" in output.out or f"\n{name}: -" in output.out for name in USABLE)
    usable = [str(folder / "list_wav" / f"{name}.txt") for name in USABLE]
    assert run_main(evaluate_command.main, [*words, "--lists", *usable, "--missing", "skip"]) == SUCCESS
    words[1] = words[3] = f"{tmp_path}/absent.npz"
    assert run_main(evaluate_command.main, words) == ERROR
    message = capsys.readouterr().err
    assert "--voices: nothing at" in message and "--faces: nothing at" in message


def test_compare_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (write_outputs(tmp_path / name, seed) for seed, name in enumerate("ab"))
    for kind, item in (("wav", utterance), ("faces", portrait)):
        for i in range(6):
            path = folder / kind / item(i)
            path.parent.mkdir(parents=True)
            path.touch()
    row = {"name": "match_f2v_2_test", "reason": "its files were lost"}
    (one / "results.json").write_text(json.dumps({"unavailable": [row]}))
    words = [f"a={one}", f"b={two}", "--data", str(folder), "--out", f"{tmp_path}/out"]
    words += [word for name in [*USABLE, *FLAWED] for word in ("--list", name)]
    assert run_main(compare_command.main, words) == ERROR
    message = capsys.readouterr().err
    assert all(name in message for name in FLAWED) and not (tmp_path / "out").exists()
    assert run_main(compare_command.main, [*words, "--missing", "skip"]) == INCOMPLETE
    shown, page = capsys.readouterr().out, (tmp_path / "out" / "compare.html").read_text()
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    for system in record["systems"].values():
        assert [each["name"] for each in system["mean"]["lists"]] == USABLE
    assert [each["name"] for each in record["unavailable"]] == [*FLAWED]
    for each in record["unavailable"]:
        assert f"not computed: {each['name']}: {each['reason']}" in shown and each["reason"] in page
    assert "The test of a could not compute 1 of its results: match_f2v_2_test (its files were lost)." in page
    (one / "results.json").write_text(json.dumps({"unavailable": ["a name without a reason"]}))
    assert run_main(compare_command.main, [*words, "--missing", "skip"]) == ERROR
    assert "results.json contains no results" in capsys.readouterr().err


def test_report_shows_reasons_without_any_result(tmp_path: Path) -> None:
    rows = [UnavailableResult("FID", "expected 2 images, found <1>")]
    page = build_report(tmp_path / "page.html", title="nothing", unavailable=rows).read_text()
    assert "Results that could not be computed" in page and "expected 2 images, found &lt;1&gt;" in page
    plain = build_report(tmp_path / "plain.html", title="nothing").read_text()
    assert "could not be computed" not in plain


def test_status_counts_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert completeness_status([]) == SUCCESS and capsys.readouterr().err == ""
    assert completeness_status([UnavailableResult("a", "b")]) == INCOMPLETE
    assert capsys.readouterr().err.startswith("1 result could not be computed")
