"""Systems beside each other: paired tests over all pairs, means over runs, the same items, the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from voiceface.commands.compare import bootstrap_size_warning, main, output_paths, parse_systems
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.trials.sampling import generate_trial_lists
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.evaluation.all_pairs import all_pairs_metrics, score_matrix
from voiceface.evaluation.all_pairs_comparison import (
    DISPLAYED_METRICS,
    average_runs,
    bootstrap_all_pairs,
    compare_all_pairs,
)
from voiceface.evaluation.comparison import (
    compare_systems,
    count_tests,
    restrict_to_common_items,
)
from voiceface.evaluation.evaluator import compare, evaluate
from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.run_averaging import mean_results
from voiceface.metrics.bootstrap import bootstrap_counts, paired_difference_from_replicates
from voiceface.metrics.multiple_testing import holm_adjust
from voiceface.report import ResultRow, SystemResults
from voiceface.report.forest_plot import forest_plot_html
from voiceface.synthetic.layout import build_settings
from voiceface.synthetic.writer import write_population

SIDES = ("voices", "faces")


def two_systems(people: int = 40, seed: int = 0, noises: tuple[float, float] = (0.9, 1.1)):
    """Score matrices of two systems on the same people, and their sex."""
    rng = np.random.default_rng(seed)
    sex = np.arange(people) % 2
    truth = rng.normal(size=(people, 6))
    truth[:, 0] += 3 * sex
    scores = [
        score_matrix(*(truth + noise * rng.normal(size=truth.shape) for _ in range(2))) for noise in noises
    ]
    return scores, sex


def resampled(scores, sex, times, key):
    """A figure of people who stand there several times; nobody is asked against a copy of themselves."""
    who = np.repeat(np.arange(len(sex)), times.astype(int))
    table, sexes = scores[np.ix_(who, who)], sex[who]
    other = who[:, None] != who
    allowed = other & (sexes[:, None] == sexes) if key.endswith("g") else other
    right = np.diagonal(table)
    if key.startswith("auc"):
        wrong = np.sort(table[allowed])
        return np.searchsorted(wrong, right).mean() / len(wrong)
    found = []
    for turned in (table, table.T):
        over = (turned > right[:, None]) & allowed
        if key == "map":
            found.append(np.mean(1 / (1 + over.sum(1))))
        else:
            known = allowed.any(1)
            found.append(1 - np.mean(over.sum(1)[known] / allowed.sum(1)[known]))
    return np.mean(found)


@pytest.mark.parametrize("key", DISPLAYED_METRICS)
def test_paired_test_over_pairs_agrees_with_drawing_people_anew(key):
    (one, other), sex = two_systems()
    found = compare_all_pairs({"one": [one], "other": [other]}, sex).differences["one", "other"][key]
    draws = bootstrap_counts(len(sex), 400, seed=7)
    slow = np.array([resampled(one, sex, t, key) - resampled(other, sex, t, key) for t in draws])
    ones = np.ones(len(sex))
    assert found.value == pytest.approx(resampled(one, sex, ones, key) - resampled(other, sex, ones, key))
    assert found.standard_error == pytest.approx(slow.std(), rel=0.2)
    # Copies of one person shift the slow figures, so widths and not places of the intervals are compared.
    low, high = np.quantile(slow, [0.025, 0.975])
    assert found.high - found.low == pytest.approx(high - low, rel=0.2)


def test_replicates_spread_as_the_jackknife_says():
    (scores, _), sex = two_systems()
    again = bootstrap_all_pairs(scores, sex, replicates=4000)
    for name, (value, error) in all_pairs_metrics(scores, sex).items():
        assert again[name][0] == value
        assert again[name][1].std() == pytest.approx(error, rel=0.06), name
        assert again[name][1].mean() == pytest.approx(value, abs=4 * error / 4000**0.5), name


def test_both_directions_count_the_same_and_are_paired():
    (scores, _), sex = two_systems()
    again, turned = bootstrap_all_pairs(scores, sex), bootstrap_all_pairs(scores.T, sex)
    for key in ("g", "u", "map"):
        one, other = again[f"{key}_v2f"], again[f"{key}_f2v"]
        assert again[key][0] == pytest.approx((one[0] + other[0]) / 2)
        assert np.allclose(again[key][1], (one[1] + other[1]) / 2)
        assert np.allclose(again[key][1], turned[key][1])


def test_equal_systems_differ_by_nothing():
    (scores, _), sex = two_systems()
    found = compare_all_pairs({"one": [scores], "same": [scores.copy()]}, sex)
    for key, gap in found.differences["one", "same"].items():
        assert (gap.value, gap.standard_error, gap.low, gap.high, gap.p_value) == (0, 0, 0, 0, 1)
        assert gap.adjusted_p_value == (1 if key in DISPLAYED_METRICS else None)


def test_systems_of_equal_quality_are_seldom_told_apart():
    rejected = dict.fromkeys(DISPLAYED_METRICS, 0)
    for seed in range(120):
        scores, sex = two_systems(24, seed, noises=(1.0, 1.0))
        one, other = (bootstrap_all_pairs(s, sex, replicates=200, seed=seed) for s in scores)
        for key in DISPLAYED_METRICS:
            rejected[key] += paired_difference_from_replicates(one[key], other[key]).p_value < 0.05
    assert all(count <= 14 for count in rejected.values()), rejected  # 6 expected, 14 once in a thousand
    assert sum(rejected.values()) > 0


def test_a_paired_test_sees_what_separate_intervals_hide():
    rng = np.random.default_rng(3)
    truth, sex = rng.normal(size=(60, 6)), np.arange(60) % 2
    sides = [truth + 0.8 * rng.normal(size=truth.shape) for _ in range(2)]
    worse = [side + 0.6 * rng.normal(size=truth.shape) for side in sides]
    found = compare_all_pairs({"one": [score_matrix(*sides)], "worse": [score_matrix(*worse)]}, sex)
    one, other = (found.systems[name]["u"] for name in found.systems)
    gap = found.differences["one", "worse"]["u"]
    unpaired = np.hypot(one.standard_error, other.standard_error)
    assert gap.standard_error < 0.7 * unpaired
    assert gap.low > 0 and gap.value < 1.96 * unpaired


def test_pairs_of_several_runs_are_means():
    (one, other), sex = two_systems()
    found = compare_all_pairs({"first": [one], "both": [one, other]}, sex)
    single = [compare_all_pairs({"x": [s]}, sex).systems["x"]["g"].value for s in (one, other)]
    assert found.runs["both"]["g"] == single
    assert found.systems["both"]["g"].value == pytest.approx(np.mean(single))
    each = [bootstrap_all_pairs(s, sex) for s in (one, other)]
    gap = paired_difference_from_replicates(each[0]["g"], average_runs(each)["g"])
    assert replace(found.differences["first", "both"]["g"], adjusted_p_value=None) == gap
    with pytest.raises(ValueError, match="at least one system"):
        compare_all_pairs({"x": [one[:5, :5]]}, sex)


def test_references_by_hand():
    (scores, oracle), sex = two_systems()
    found = compare_all_pairs({"one": [scores]}, sex, oracle_scores=oracle).references
    chance, baseline, bound = found.values()
    assert (chance["g"], chance["u"], chance["auc"], chance["auc_g"]) == pytest.approx((0.5, 0.5, 0.5, 0.5))
    assert chance["map"] == pytest.approx(np.mean(1 / np.arange(1, 41)))
    # Of 39 others 20 have the other gender, which are all below; the 19 of the same gender tie.
    assert (baseline["g"], baseline["u"]) == pytest.approx((0.5, (20 + 19 / 2) / 39))
    assert baseline["map"] == pytest.approx(np.mean(1 / np.arange(1, 21)))
    assert bound["auc"] == all_pairs_metrics(oracle, sex)["auc"][0]


def test_intervals_of_shares_lie_between_zero_and_one():
    (good, _), sex = two_systems(12, noises=(0.3, 1.0))
    found = compare_all_pairs({"good": [good], "bad": [1 - good]}, sex).systems
    for name, matrix in (("good", good), ("bad", 1 - good)):
        for key, (value, again) in bootstrap_all_pairs(matrix, sex).items():
            low, high = np.quantile(again, [0.025, 0.975])
            span = found[name][key]
            assert (span.low, span.high) == pytest.approx((max(low, 0), min(high, 1)))
            assert span.low <= value <= span.high
    assert {found["good"][key].high for key in ("u", "auc")} == {1.0}
    assert {found["bad"][key].low for key in ("u", "auc")} == {0.0}


def test_nobody_shares_a_sex():
    scores = np.eye(3) + np.arange(9).reshape(3, 3) / 20
    found = compare_all_pairs({"a": [scores], "b": [scores.T]}, np.arange(3))
    assert "g" not in found.systems["a"] and "auc_g" not in found.differences["a", "b"]
    assert json.dumps(found.to_dict(), allow_nan=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("compare") / "people"
    sizes = {"clips": 2, "clip_seconds": 0.6, "images": 2, "render_size": 32, "train": 2, "val": 6}
    return write_population(root, build_settings("tiny", test=14, **sizes), workers=1, progress=False)


@pytest.fixture(scope="module")
def corpus(data):
    return open_corpus(data, "test")


@pytest.fixture(scope="module")
def protocol(corpus):
    return Protocol("tiny", tuple(generate_trial_lists(corpus, 3)), replicates=60)


def tables_of(corpus, noise: float, seed: int = 0):
    """Embeddings that hold who somebody is, and noise."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(len(corpus), 5))
    found = []
    for side in SIDES:
        items = [(i, item) for i, person in enumerate(corpus.records) for item in getattr(person, side)]
        vectors = centres[[i for i, _ in items]] + noise * rng.normal(size=(len(items), 5))
        found.append(EmbeddingTable([item for _, item in items], vectors.astype(np.float32), f"{noise}"))
    return found[0], found[1]


def without(tables, side: int, count: int):
    """The same tables; the last items of one side are not there."""
    kept = list(tables)
    kept[side] = kept[side].take(kept[side].items[:-count])
    return kept[0], kept[1]


def write_system(folder: Path, tables) -> Path:
    for side, table in zip(SIDES, tables):
        table.save(folder / f"{side}.npz")
    return folder


def test_one_run_is_its_own_mean_and_two_are_between(corpus, protocol):
    one, other = (evaluate(protocol, *tables_of(corpus, noise, 1), corpus) for noise in (0.5, 1.5))
    assert mean_results([one]) is one
    twice, mean = mean_results([one, one]), mean_results([one, other])
    for kept, same in zip(one.lists, twice.lists):
        for part in ("value", "low", "high", "standard_error", "chance"):
            assert getattr(same.main_metric, part) == pytest.approx(getattr(kept.main_metric, part))
    assert {gap.value for gap in compare(one, twice).values()} == {0}
    assert {gap.p_value for gap in compare(one, twice).values()} == {1}
    for first, second, both in zip(one.lists, other.lists, mean.lists):
        for name, figure in both.metrics.items():
            values = [found.metrics[name].value for found in (first, second)]
            assert figure.value == pytest.approx(np.mean(values)), name
        if "roc" in both.curve:
            x, y = map(np.array, both.curve["roc"])
            assert (np.diff(x) * (y[1:] + y[:-1]) / 2).sum() == pytest.approx(
                both.main_metric.value, abs=1e-9
            )
    foreign = evaluate(replace(protocol, tie_breaking="first"), *tables_of(corpus, 1.5, 1), corpus)
    with pytest.raises(ValueError, match="different protocols"):
        mean_results([one, foreign])
    half, whole = compare(one, mean), compare(one, other)
    for name, gap in half.items():
        assert gap.value == pytest.approx(whole[name].value / 2)
        assert gap.standard_error == pytest.approx(whole[name].standard_error / 2)


def test_systems_must_have_the_same_items(data, corpus, protocol):
    good = tables_of(corpus, 0.5)
    systems = {"one": [good], "two": [good, without(good, 1, 3)]}
    first = good[1].items[-3]
    with pytest.raises(
        EmbeddingError, match=f"two, run 2, lacks 3 of 28 faces .{re.escape(first)}.*missing skip"
    ):
        restrict_to_common_items(systems, corpus, protocol)
    kept, left_out = restrict_to_common_items(systems, corpus, protocol, skip_missing=True)
    assert left_out == 3 and {len(run[1]) for runs in kept.values() for run in runs} == {25}
    assert {tuple(run[1].items) for runs in kept.values() for run in runs} == {tuple(kept["one"][0][1].items)}
    found = compare_systems(systems, protocol, corpus, skip_missing=True)
    assert found.num_skipped == 3 and found.systems["one"].lists[0].counts["skipped"] > 0
    assert {gap.value for gap in found.differences["one", "two"].values()} == {0}
    beside = compare_systems(systems, protocol, corpus, population=data, skip_missing=True)
    for reference in beside.references.values():
        for mine, theirs in zip(reference.lists, beside.systems["one"].lists):
            assert np.array_equal(mine.used_trials, theirs.used_trials)
    foreign = [EmbeddingTable(["x"], np.ones((1, 5), np.float32))] * 2
    with pytest.raises(EmbeddingError, match="no item of voices is left"):
        restrict_to_common_items(
            {"one": [good], "two": [(foreign[0], foreign[1])]}, corpus, protocol, skip_missing=True
        )


def test_more_items_than_needed_do_no_harm(corpus, protocol):
    voices, faces = tables_of(corpus, 0.5)
    more = EmbeddingTable(
        [*voices.items[::-1], "other"], np.vstack([voices.vectors[::-1], np.ones((1, 5), np.float32)])
    )
    found = compare_systems({"one": [(voices, faces)], "two": [(more, faces)]}, protocol, corpus)
    assert {gap.value for gap in found.differences["one", "two"].values()} == {0}


def test_every_two_systems_are_compared_and_all_tests_are_one_family(corpus, protocol):
    systems = {name: [tables_of(corpus, noise, 7)] for name, noise in (("a", 0.5), ("b", 1.0), ("c", 2.0))}
    found = compare_systems(systems, protocol, corpus)
    assert list(found.differences) == [("a", "b"), ("a", "c"), ("b", "c")]
    gaps = [gap for table in found.differences.values() for gap in table.values()]
    assert len(gaps) == count_tests(found) == 3 * len(protocol.lists)
    assert [gap.adjusted_p_value for gap in gaps] == holm_adjust([gap.p_value for gap in gaps])
    assert "60 bootstrap samples are too few" in bootstrap_size_warning(60, len(gaps))
    assert bootstrap_size_warning(5000, len(gaps)) == ""


@pytest.mark.parametrize("runs", [1, 2])
def test_command(data, corpus, tmp_path, capsys, runs):
    good = write_system(tmp_path / "good", tables_of(corpus, 0.3))
    bad = [write_system(tmp_path / f"bad{i}", tables_of(corpus, 4.0, i)) for i in range(runs)]
    words = [
        f"good={good}",
        f"bad={','.join(map(str, bad))}",
        "--data",
        str(data),
        "--bootstrap-samples",
        "2000",
    ]
    (good / "results.json").write_text(json.dumps({"leaked_identities": ["A", "B"]}))
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    page, numbers = tmp_path / "out" / "compare.html", tmp_path / "out" / "compare.json"
    record = json.loads(numbers.read_text())
    # One protocol for all, and the figures are those of the systems alone.
    assert [len(found["runs"]) for found in record["systems"].values()] == [1, runs]
    lists = {found["name"]: found for found in record["systems"]["bad"]["mean"]["lists"]}
    assert len(lists) >= 10 and set(record["references"]) == {"gender-only baseline", "oracle upper bound"}
    assert [(d["first"], d["second"]) for d in record["differences"]] == [("good", "bad")]
    gap = record["differences"][0]["lists"]["match_v2f_2_test"]
    first = record["systems"]["good"]["mean"]["lists"][2]["metrics"]["accuracy"]["value"]
    assert gap["value"] == pytest.approx(first - lists["match_v2f_2_test"]["metrics"]["accuracy"]["value"])
    assert gap["low"] > 0 and gap["p_value"] < gap["adjusted_p_value"] < 0.05
    settings = [found["setting"] for found in record["all_pairs"]]
    assert settings == ["single", "avg2"] and record["all_pairs"][0]["num_identities"] == 14
    pairs = record["all_pairs"][0]
    assert len(pairs["systems"]["bad"]["g"]["runs"]) == runs
    assert (
        pairs["references"]["oracle upper bound"]["g"]
        > pairs["references"]["gender-only baseline"]["g"]
        == 0.5
    )
    head, *rows = shown.split("\n\n")[0].splitlines()
    assert re.split(r"\s{3,}", head.strip()) == [
        "chance level",
        "gender-only baseline",
        "oracle upper bound",
        "good",
        "bad",
        "good - bad",
    ]
    names = [row.split("   ")[0].strip() for row in rows]
    assert (
        names[0].startswith("match_g_v2f_2_test")
        and names[-1] == "mean of 2 samples, map"
        and len(names) == 20
    )
    assert (f"mean of {runs} runs" in shown) == (runs > 1)
    text = page.read_text()
    assert text.count('class="strip"') == 20 + 3  # a strip for each figure, an axis for each task
    assert (
        "good is better" in text
        and "trained on 2 of its evaluation identities" in text
        and "synthetic identity" in text
    )
    assert ("means over 2 runs" in text) == ("Runs of bad" in text) == (runs > 1)


def test_command_on_another_split_with_lists_drawn_now(data, tmp_path, capsys):
    people = open_corpus(data, "val")
    folders = [write_system(tmp_path / str(noise), tables_of(people, noise)) for noise in (0.5, 1.0)]
    words = [
        f"a={folders[0]}",
        f"b={folders[1]}",
        "--data",
        str(data),
        "--split",
        "val",
        "--generate-lists",
        "1",
    ]
    words += ["--list", "match_v2f_3_val", "--bootstrap-samples", "20", "--out", str(tmp_path / "page.html")]
    assert main(words) == 0
    assert "match_v2f_3_val" in capsys.readouterr().out
    assert json.loads((tmp_path / "page.json").read_text())["protocol"] == "people val"
    wrong = [*words[:4], "--generate-lists", "1", "--out", str(tmp_path / "none.html")]
    with pytest.raises(EmbeddingError, match=r"a lacks 28 of 28 voices .*; b lacks 28"):
        main(wrong)
    assert not list(tmp_path.glob("none*"))


def test_command_warns_where_results_speak_of_other_data(data, corpus, tmp_path, caplog):
    folders = [write_system(tmp_path / name, tables_of(corpus, 0.5)) for name in "ab"]
    words = [f"a={folders[0]}", f"b={folders[1]}", "--data", str(data), "--bootstrap-samples", "20"]
    words += ["--list", "match_v2f_2_test", "--out", str(tmp_path / "page.html")]
    for other, warned in (("people test", False), ("coupling0 test", True)):
        for folder, name in zip(folders, ("people test", other)):
            (folder / "results.json").write_text(json.dumps({"protocol": name}))
        caplog.clear()
        assert main(words) == 0
        assert ("b on coupling0 test" in caplog.text) == warned
        assert ("b on coupling0 test" in (tmp_path / "page.html").read_text()) == warned


@pytest.mark.parametrize("content", ["{", "[1]", '{"leaked_identities": 3}'])
def test_command_names_results_that_are_none(data, corpus, tmp_path, content):
    folder = write_system(tmp_path / "a", tables_of(corpus, 0.5))
    (folder / "results.json").write_text(content)
    with pytest.raises(ValueError, match=r"results\.json .*again"):
        main([f"a={folder}", f"b={folder}", "--data", str(data), "--out", str(tmp_path / "page.html")])


def test_command_says_what_is_wrong_with_its_words(tmp_path, capsys):
    for flag, value in (("--seed", "-1"), ("--bootstrap-samples", "1")):
        with pytest.raises(SystemExit):
            main(["a=x", "b=y", "--data", "d", "--out", "o", flag, value])
        assert f"{flag} {value}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected NAME=DIR"):
        parse_systems(["a=x", "y"])
    with pytest.raises(ValueError, match="name a is repeated"):
        parse_systems(["a=x", "a=y"])
    with pytest.raises(ValueError, match="folder is repeated"):
        parse_systems(["a=x,x", "b=y"])
    with pytest.raises(ValueError, match="two or more"):
        parse_systems(["a=x,y"])
    assert parse_systems(["a=x,y", "b=z"])["a"] == [Path("x"), Path("y")]
    assert output_paths(Path("a/b.html")) == (Path("a/b.html"), Path("a/b.json"))
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError, match=r"voices.npz and faces.npz.*test"):
        main([f"a={tmp_path / 'a'}", "b=x", "--data", str(tmp_path), "--out", str(tmp_path)])


def test_a_strip_shows_every_system_where_it_stands():
    rows = [
        ResultRow(
            "Matching", value, "v2f", "G", low=value - 0.1, high=value + 0.1, chance=0.5, upper_bound=1.0
        )
        for value in (0.6, 0.8)
    ]
    systems = [SystemResults(f"<{name}>", [row]) for name, row in zip("ab", rows)]
    text = forest_plot_html(systems, {"<a>": "c0", "<b>": "c1"}, title="All")
    assert "<a>" not in text and "&lt;a&gt; 60.0" in text
    places = [float(x) for x in re.findall(r'<svg x="([\d.]+)%"', text)]
    marks = {key: float(x) for key, x in re.findall(r'class="mark (\w+)" x1="([\d.]+)%"', text)}
    assert marks["chance"] < places[0] < places[1] < marks["upper_bound"]
    share = (places[0] - marks["chance"]) / (marks["upper_bound"] - marks["chance"])
    assert share == pytest.approx((0.6 - 0.5) / (1.0 - 0.5), abs=0.001)
    assert forest_plot_html([], {}, title="None") == ""
