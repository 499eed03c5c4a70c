"""`voiceface demo` with stub systems on the tiny population."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stub_systems import GreyImageGenerator, build_stub_systems
from voiceface.suite import demo, demo_data, demo_page, parallel_training, plugins
from voiceface.suite.plugins import SystemSet


@pytest.fixture
def quick_demo(monkeypatch, tiny_population, tmp_path):
    """A demo of the stub systems on the tiny population."""
    monkeypatch.setattr(demo_data, "PRESET", "tiny")
    shutil.copytree(tiny_population, tmp_path / "demo" / "population")
    rows = [
        row.split(",")
        for row in (tiny_population / "list_wav" / "vox1_test.csv").read_text().splitlines()[1:]
    ]
    identity_rows = {folder: at for at, row in enumerate(rows) for folder in row[:2]}

    def run(names=(), pretrained=True) -> tuple[Path, dict]:
        systems = SystemSet(
            build_stub_systems(identity_rows, names), {"voicestyle": "not installed: somehow"}
        )
        page = demo.run_demo(tmp_path / "demo", pretrained=pretrained, systems=systems, workers=1)
        return page, json.loads(page.with_name("report.json").read_text())

    return run, [row[1] for row in rows]


def test_a_demo_shows_two_women_and_two_men_of_no_training_set(quick_demo):
    run, names = quick_demo
    page, record = run()
    assert len(record["identities_shown"]) == 4
    again = run(names=record["identities_shown"][:1])[1]
    assert record["identities_shown"][0] not in again["identities_shown"]  # now in a training set
    pairs = record["association"]["all_pairs"][0]["systems"]
    assert pairs["perfect"]["g"]["value"] == 1 and pairs["constant"]["g"]["value"] == 0.5
    text = page.read_text("utf-8")
    assert text.count("Ground-truth face</figcaption>") == text.count("Ground-truth head</figcaption>") == 4
    assert text.count('class="ranking v2f"') == 8 and "correct face 1st of 8" in text
    assert "not installed: somehow" in text and "8 identities" in text
    assert record["heads"]["mean"]["ours"]["value"] == pytest.approx(
        record["heads"]["mean"]["baselines"]["mean face"]["value"], rel=1e-4
    )
    assert set(record["images"]) == {"grey"} and names


def test_a_slow_generator_runs_for_the_cards_only_and_starts_from_validation_images(quick_demo, monkeypatch):
    run, _ = quick_demo
    bank_files: list[Path] = []

    class Slow(GreyImageGenerator):
        identity_names, num_images = (), 0

        def generate_image(self, utterances):
            Slow.num_images += 1
            return super().generate_image(utterances)

    def load(weights, *, device, bank):
        bank_files.extend(bank)
        return Slow()

    monkeypatch.setitem(
        globals(), "build_stub_systems", lambda *_: (plugins.ImageSystem("slow", "", load, is_fast=False),)
    )
    page, record = run()
    assert Slow.num_images == 4 and record["images"]["slow"]["num_identities"] == 4
    assert record["association"] is None
    assert bank_files and all(
        path.is_file() and path.parent.name[0] in "AB" for path in bank_files
    )  # validation identities
    assert page.read_text("utf-8").count("slow</figcaption>") == 4


def test_images_are_generated_while_a_training_runs_and_none_twice(quick_demo, monkeypatch):
    run, _ = quick_demo
    made: list[str] = []

    class Counting(GreyImageGenerator):
        def generate_image(self, utterances):
            made.append(str(utterances[0]))
            assert torch.get_num_threads() == 1  # also of those that come later
            return super().generate_image(utterances)

    def train(names, population, out, *, meanwhile, **_):
        assert [next(meanwhile) for _ in range(4)] == ["", "grey", "grey", "grey"]
        assert torch.get_num_threads() == 1 and len(made) == 3
        meanwhile.close()
        assert torch.get_num_threads() == 2
        return {"trained": out}

    monkeypatch.setattr(parallel_training, "train_systems", train)
    build = build_stub_systems

    def with_training(*arguments):
        systems = build(*arguments)
        perfect = next(each for each in systems if each.name == "perfect")
        trained = replace(perfect, name="trained", train=lambda *_, **__: None)
        grey = plugins.ImageSystem("grey", "", lambda *_, **__: Counting())
        others = (each for each in systems if not isinstance(each, plugins.ImageSystem))
        return (trained, *others, grey)

    monkeypatch.setitem(globals(), "build_stub_systems", with_training)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, record = run(pretrained=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert len(made) == len(set(made)) == 8 and record["images"]["grey"]["num_identities"] == 8
    assert set(record["association"]["all_pairs"][0]["systems"]) >= {"perfect", "trained"}


def test_test_identities_in_a_training_set_are_reported():
    text = " ".join(demo_page.summarise_demo({"one": 3}, pretrained=True))
    assert "one 3" in text and "too high" in text
    assert "No test identity" in " ".join(demo_page.summarise_demo({}, pretrained=False))


def test_the_population_of_a_pretrained_demo_grows_into_the_full_one(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_data, "PRESET", "tiny")
    pretrained = demo_data.generate_demo_data(tmp_path / "p", pretrained=True, workers=1)
    before = {path: path.read_bytes() for path in (tmp_path / "p" / "wav").rglob("*.wav")}
    full = demo_data.generate_demo_data(tmp_path / "p", pretrained=False, workers=1)
    assert pretrained.ids == full.ids and len(pretrained.ids) == 8
    assert demo_data.generate_demo_data(tmp_path / "p", pretrained=True, workers=1).ids == pretrained.ids
    after = list((tmp_path / "p" / "wav").rglob("*.wav"))
    assert len(after) == 2 * 28 and len(before) == 2 * 12
    assert all(path.read_bytes() == content for path, content in before.items())


def test_ctrl_c_prints_the_command_that_resumes(tmp_path, monkeypatch, capsys):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", stopped)
    monkeypatch.setattr(plugins, "find_systems", lambda: SystemSet(build_stub_systems({}), {}))
    assert demo.main(["--pretrained", "--out", str(tmp_path / "d")]) == 130
    assert f"voiceface demo --pretrained --out {tmp_path / 'd'}" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert demo.main(["--out", "demo"]) == 130
    assert capsys.readouterr().err.endswith("resumes: voiceface demo --out demo\n")


def test_every_terminal_line_states_the_number_of_identities(quick_demo, capsys):
    run, _ = quick_demo
    run()
    lines = capsys.readouterr().out.splitlines()
    for start, system in (
        ("same-gender 1:2 matching (", "perfect"),
        ("same-gender 1:2 matching of generated images", "grey"),
        ("mean error of head proportions", "mean"),
    ):
        (line,) = (line for line in lines if line.startswith(start))
        assert system in line and "8 identities" in line
