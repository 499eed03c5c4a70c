"""The report page is well formed, self-contained, escaped, and shows its records correctly."""

import base64
import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from voiceface.report import (
    SYNTHETIC_PAGE_DISCLAIMER,
    AudioSource,
    Curve,
    Headline,
    Histogram,
    IdentityCard,
    IdentityGroup,
    PairedDifferenceRow,
    Plot,
    ProbeRanking,
    ProtocolSummary,
    RankedCandidate,
    ResultRow,
    RetrievalExamples,
    SystemResults,
    Table,
    TrialListRow,
    build_learning_curves,
    build_report,
    build_retrieval_examples,
    collect_environment,
    read_log,
    select_hardest_and_easiest,
)
from voiceface.report.formatting import format_metric, format_number, ordinal
from voiceface.report.learning_curves import running_mean
from voiceface.report.plots import MAX_POINTS, line_plot_html, linear_ticks, log_ticks, tick_labels
from voiceface.report.tables import compute_axis_range, describe_normalized_gain

ODD = 'Ann <b>&"quoted"</b>'
VOID = {"meta", "img", "link", "br", "input", "hr"}


class Reader(HTMLParser):
    """Collect tags with their attributes, and the tags that are still open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def read(path):
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader.tags


def tone(pitch=200.0, seconds=1.0):
    time = np.arange(int(16000 * seconds)) / 16000
    return AudioSource((8000 * np.sin(2 * np.pi * pitch * time)).astype(np.int16))


def synthetic_face(shade=90):
    return np.full((40, 40, 3), shade, np.uint8)


def full_report(folder, **changes):
    rng = np.random.default_rng(0)
    names = [ODD, *(f"Identity_{i}" for i in range(11))]
    scores = rng.normal(size=(3, 12))
    voices, faces = [tone(150 + 20 * i) for i in range(3)], [synthetic_face(20 * i) for i in range(12)]
    (folder / "log.jsonl").write_text(
        "".join(json.dumps({"step": i, "loss": 9 / (i + 1)}) + "\n" for i in range(90))
    )
    rows = [
        ResultRow("1:2 matching", 0.7, d, "G", f"match_{d}", 0.65, 0.75, 0.5, 0.5, 0.95, num_trials=99)
        for d in ("v2f", "f2v")
    ]
    x = np.linspace(0, 1, 50)
    given = {
        "title": ODD,
        "subtitle": ODD,
        "facts": {"System": ODD},
        "disclaimers": [SYNTHETIC_PAGE_DISCLAIMER, ODD],
        "headlines": [Headline(ODD, 0.7, 0.65, 0.75, 0.5, 0.5, 0.95, ODD), Headline("error", 5.2, unit="mm")],
        "systems": [SystemResults("first", rows), SystemResults(ODD, rows[:1])],
        "differences": [PairedDifferenceRow("first", ODD, ODD, 0.02, 0.01, 0.03, 0.004)],
        "tables": [Table(ODD, ["a", ODD], [[ODD, 1.5], ["b", None]], ODD)],
        "plots": [Histogram("weights", rng.random(50), ODD)],
        "protocol": ProtocolSummary(
            ODD, [TrialListRow(ODD, "Matching", "v2f", "G", 99, "ab" * 32)], {"Ties": ODD}
        ),
        "logs": folder,
        "roc": [Plot(ODD, [Curve(ODD, x, x**0.3, note=ODD), Curve("chance", x, x, kind="chance")], ODD, ODD)],
        "retrieval_examples": [
            build_retrieval_examples(scores, names[:3], names, voices, faces, direction="v2f", title=ODD),
            build_retrieval_examples(scores.T[:2], names[:2], names[:3], faces[:2], voices, direction="f2v"),
        ],
        "identity_groups": select_hardest_and_easiest(
            names, list(rng.random(12)), lambda name: (synthetic_face(), tone())
        ),
        "config": {"model": {"name": ODD, "size": 3}},
        "environment": collect_environment(),
        "commands": [f"run {ODD}"],
    }
    return build_report(folder / "report.html", **(given | changes))


def test_page_is_well_formed_and_complete_without_the_network(tmp_path):
    text, tags = read(full_report(tmp_path))
    for tag, attributes in tags:
        assert tag not in ("link", "iframe", "object", "embed")
        for name in ("src", "href", "poster", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "data:audio/", "#")), (tag, value[:60])
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert "url(" not in style and "@import" not in style
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", re.sub(r"base64,[^\"]*", "", text))


def test_every_text_is_escaped(tmp_path):
    text, tags = read(full_report(tmp_path))
    assert "Ann <b>" not in text and 'Ann &lt;b&gt;&amp;"' not in text
    assert text.count("Ann &lt;b&gt;&amp;&#34;quoted&#34;&lt;/b&gt;") > 20
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)


def test_script_is_allowed_by_its_hash_alone(tmp_path):
    import hashlib

    text, _ = read(full_report(tmp_path))
    script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_headings_never_skip_a_level_and_images_have_descriptions(tmp_path):
    _, tags = read(full_report(tmp_path))
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    assert all(
        attributes.get("aria-hidden") == "true" or attributes.get("aria-label") or "width" in attributes
        for tag, attributes in tags
        if tag == "svg"
    )
    assert all(attributes["aria-label"] for tag, attributes in tags if tag == "audio")
    assert sum(tag == "caption" for tag, _ in tags) == sum(tag == "table" for tag, _ in tags)
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_same_arguments_give_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert full_report(tmp_path / "a").read_bytes() == full_report(tmp_path / "b").read_bytes()


def test_missing_parts_omit_their_sections(tmp_path):
    text, _ = read(build_report(tmp_path / "bare.html", title="bare"))
    assert "<section" not in text and "<h1>bare</h1>" in text
    row = ResultRow("1:2 matching", 0.7)
    text, _ = read(build_report(tmp_path / "one.html", title="one", systems=[SystemResults("s", [row])]))
    assert text.count("<section") == 1 and "Oracle upper bound</button>" not in text and "70.0" in text


def test_the_size_stays_below_the_limit_and_skipped_media_are_counted(tmp_path):
    full_size = full_report(tmp_path).stat().st_size
    limit = full_size - 40_000
    path = full_report(tmp_path, max_bytes=limit)
    text, _ = read(path)
    assert path.stat().st_size <= limit
    assert "skipped to keep this file small" in text


def test_media_have_the_stated_format(tmp_path):
    import io

    import soundfile
    from PIL import Image

    text, _ = read(full_report(tmp_path))
    images = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    voices = re.findall(r"data:audio/\w+;base64,([^\"]+)", text)
    assert len(images) == 3 * 8 + 2 + 12 + text.count(' apart"')
    with Image.open(io.BytesIO(base64.b64decode(images[0]))) as image:
        assert image.format == "JPEG" and max(image.size) <= 160
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(voices[0])))
    assert rate == 16000 and 0.9 < len(samples) / rate < 1.2 and 0.7 < np.abs(samples).max() < 0.95


def test_unreadable_media_do_not_prevent_the_report(tmp_path, caplog):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    names = select_hardest_and_easiest(
        ["A", "B"], [0.2, 0.9], lambda name: (tmp_path / "bad.jpg", AudioSource(np.zeros(0, np.int16)))
    )
    text, _ = read(build_report(tmp_path / "r.html", title="t", identity_groups=names))
    assert "Face of A: no image" in text and "voice not included" in text
    assert "skipped in the report" in caplog.text


def test_gallery_ranks_candidates_and_adds_the_first_correct_one():
    scores = np.array([[0.1, 0.9, 0.5, 0.7]])
    faces = [synthetic_face() for _ in range(4)]
    gallery = build_retrieval_examples(
        scores, ["A"], ["A", "B", "C", "B"], [tone()], faces, direction="v2f", num_shown=2
    )
    shown = [(c.name, c.rank, c.correct, c.score) for c in gallery.probes[0].candidates]
    assert shown == [("B", 1, False, 0.9), ("B", 2, False, 0.7), ("A", 4, True, 0.1)]
    assert gallery.probes[0].gallery_size == 4
    with pytest.raises(ValueError, match="probes"):
        build_retrieval_examples(scores, ["A"], ["A"], [tone()], faces, direction="v2f")


def test_hardest_and_easiest_do_not_overlap_and_skip_unknown():
    groups = select_hardest_and_easiest(
        list("dcbae"), [0.5, 0.5, 0.9, 0.1, float("nan")], lambda name: (None, None), group_size=6
    )
    assert [[person.name for person in group.identities] for group in groups] == [["a", "c"], ["b", "d"]]


def test_log_reading_survives_a_kill(tmp_path):
    lines = [
        '{"step": 1, "loss": 3, "val": {"auc": 0.5}, "time": 9}',
        '{"step": 2, "loss": NaN, "ok": true}',
        '{"step": 1, "loss": 2}',
        '{"ste',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    scalars = read_log(tmp_path)
    assert (
        list(scalars["loss"][0]) == [1, 2] and scalars["loss"][1][0] == 2 and np.isnan(scalars["loss"][1][1])
    )
    assert scalars["val/auc"][1].tolist() == [0.5] and "ok" not in scalars
    with pytest.raises(FileNotFoundError, match="one JSON object per line"):
        read_log(tmp_path / "nothing")


def test_learning_curves_show_runs_together_losses_first(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(
            "".join(json.dumps({"step": i, "acc": i, "loss": -i, "time": i}) + "\n" for i in range(9))
        )
    plots = build_learning_curves({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert [plot.title for plot in plots] == ["loss", "acc"]
    assert [curve.label for curve in plots[0].curves] == ["a", "b"]


def test_running_mean_is_the_mean_of_known_neighbours():
    values = np.array([1.0, np.nan, 3.0, 8.0, 4.0])
    expected = [np.nanmean(values[max(0, i - 1) : i + 2]) for i in range(5)]
    assert running_mean(values, 3) == pytest.approx(expected)
    assert running_mean(values[2:], 99) == pytest.approx([5.0] * 3)


def test_long_curves_are_downsampled_and_keep_their_ends():
    x = np.linspace(0, 1, 50_000)
    html = line_plot_html(Plot("roc", [Curve("s", x, x**0.01)], x_range=(0, 1), y_range=(0, 1)))
    path = re.search(r'class="line" d="(M[^"]+L[^"]+)"', html.split("</svg>")[0]).group(1)
    assert path.count("L") < MAX_POINTS and path.startswith("M0.0 ") and path.endswith(" 0.0")
    with pytest.raises(ValueError, match="same shape"):
        line_plot_html(Plot("p", [Curve("s", [1, 2], [1])]))
    assert line_plot_html(Plot("p", [])) == ""


def test_ticks_are_round_and_inside():
    assert linear_ticks(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert tick_labels([0, 0.25, 0.5], False) == ["0.00", "0.25", "0.50"]
    assert tick_labels([0.5, 0.6], True) == ["50%", "60%"]
    assert log_ticks(1, 193) == [1, 2, 5, 10, 20, 50, 100]


def test_formatting_of_numbers_and_ranks():
    assert (
        format_metric(0.8634) == "86.3\u202f%"
        and format_metric(None) == "–"
        and format_metric(5.237, "mm") == "5.24\u202fmm"
    )
    assert (
        format_number(14532) == "14\u202f532"
        and format_number(float("nan")) == "–"
        and format_number(0.000012345) == "1.23e−05"
    )
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21, 113)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "21st",
        "113th",
    ]


def test_normalized_gain_runs_from_baseline_to_upper_bound():
    assert describe_normalized_gain(0.75, 0.5, 0.1, 1.0).endswith("50\u202f%")
    assert "over chance level" in describe_normalized_gain(0.75, None, 0.5, 1.0)
    assert describe_normalized_gain(0.75, 0.5, 0.5, None) == ""


def test_axis_contains_its_values_and_stays_between_zero_and_one():
    low, high = compute_axis_range([0.5, 0.98, None, float("nan")], "%")
    assert 0.4 <= low < 0.5 and 0.98 < high <= 1
    assert compute_axis_range([0.0, 1.0], "%") == (0, 1)
    assert compute_axis_range([], "%") == (0, 1)


def test_a_gallery_without_labels_gives_no_verdict(tmp_path):
    probe = ProbeRanking("probe", [RankedCandidate("a", 1, False, 0.5)], gallery_size=40, labels_known=False)
    out = build_report(
        tmp_path / "r.html", title="t", retrieval_examples=[RetrievalExamples("Real", "v2f", [probe])]
    )
    page = out.read_text()
    assert "best of 40" in page and "not shown" not in page


def test_names_of_people_and_files_stand_on_the_page_as_they_are(tmp_path):
    names = ["my_friend", "Ann_Lee.00012", "_photo_1_", "clip_2.mp4#1"]
    cards = [IdentityCard(name, image=synthetic_face(), audio=tone()) for name in names]
    examples = build_retrieval_examples(
        np.eye(4), names, names, [tone()] * 4, [synthetic_face()] * 4, direction="v2f"
    )
    text, _ = read(
        build_report(
            tmp_path / "r.html",
            title="t",
            identity_groups=[IdentityGroup("People", cards)],
            retrieval_examples=[examples],
        )
    )
    for name in names:
        assert text.count(f">{name}<") >= 3  # card, probe and candidates
        assert f"Face of {name}" in text and f"voice of {name}" in text
        assert f">{name.replace('_', ' ').strip()}<" not in text or "_" not in name
