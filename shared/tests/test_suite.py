"""All systems on one page: who is found, who answers rightly, what is marked, what is left out."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stub_systems import Grey, systems_of
from voiceface.suite import (
    demo,
    demo_page,
    parallel_training,
    plugins,
    report,
    scoring,
)
from voiceface.suite import (
    demo_data as people,
)
from voiceface.suite.cards import MAX_INTERACTIVE_MESHES, build_probe_ranking, build_system_cards
from voiceface.suite.inference import GalleryEntry, SystemOutputs, Utterance, load_systems
from voiceface.suite.plugins import ENTRY_POINT_GROUP, SystemSet, find_systems
from voiceface.suite.user_media import collect_media, select_spread
from voiceface.synthetic.writer import write_population


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"stub_systems:{value}", ENTRY_POINT_GROUP)


def test_known_systems_come_first_and_absent_ones_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(plugins.util, "find_spec", lambda name: name == "cmpc2" or None)
    found = find_systems(
        [entry("aaa", "PICTURES"), entry("sf2f", "PICTURES"), entry("voicestyle", "NOTHING")]
    )
    assert [system.name for system in found.found] == ["grey", "grey"]
    assert found.unavailable["seeking_shape"] == "not installed: pip install ./packages/seeking_shape"
    assert (
        "this version" in found.unavailable["cmpc2"] and "cannot be loaded" in found.unavailable["voicestyle"]
    )
    assert set(found.unavailable) == set(plugins.KNOWN_SYSTEMS) - {"sf2f"}


def test_an_entry_that_is_no_system_is_refused():
    with pytest.raises(TypeError, match=r"sf2f.*object"):
        find_systems([entry("sf2f", "WRONG")])


def test_asking_for_a_system_that_is_not_there_says_why():
    found = SystemSet(systems_of({}), {"sf2f": "not installed: somehow"})
    assert [system.name for system in found.select(["deaf"]).found] == ["deaf"]
    with pytest.raises(ValueError, match=r"not installed: somehow.*deaf"):
        found.select(["sf2f"])


def test_a_system_without_its_bundled_weights_is_left_out_and_named_ones_must_be_there(tmp_path):
    def broken(weights, **_):
        raise FileNotFoundError("no weights here")

    some = (plugins.AssociationSystem("lost", "", broken), systems_of({})[3])
    models, left = load_systems(SystemSet(some, {}), {})
    assert list(models) == ["mean"] and left.unavailable == {"lost": "no weights here"}
    with pytest.raises(FileNotFoundError, match="no weights here"):
        load_systems(SystemSet(some, {}), {"lost": tmp_path})
    with pytest.raises(ValueError, match="no system can be used"):
        load_systems(SystemSet(some[:1], {}), {})


def test_figures_of_a_worked_case():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, np.nan]])
    found = scoring.compute_matching_metrics(scores, ["a", "b", "c"], ["a", "b", "c"])
    # a: above both wrong ones. b: below one of two. c: its face could not be used.
    assert found.matching_accuracy.value == pytest.approx((1 + 0.5) / 2) and found.rank1_rate.value == 0.5
    assert found.median_rank == 1.5 and found.rank1_chance == pytest.approx(1 / 3)
    assert (found.num_utterances, found.num_identities) == (2, 2)


def test_equal_scores_are_chance_and_unknown_people_have_no_figures():
    alike = np.zeros((4, 5))
    people = ["a", "b", "c", "d"], ["a", "b", "c", "d", "e"]
    found = scoring.compute_matching_metrics(alike, *people)
    assert found.matching_accuracy.value == 0.5 and found.rank1_rate.value == pytest.approx(
        found.rank1_chance
    ) == pytest.approx(0.2)
    assert scoring.compute_matching_metrics(alike, ["x", "", "y", "z"], people[1]) is None


def test_a_system_does_not_differ_from_itself_and_beats_chance():
    scores = np.eye(6) + 0.1 * np.random.default_rng(0).random((6, 6))
    people = [str(k) for k in range(6)]
    gaps = scoring.compare_matching(
        {"one": scores, "same": scores.copy(), "none": 0 * scores}, people, people
    )
    assert gaps["same"].value == 0 and gaps["same"].p_value == 1
    assert gaps["none"].value == pytest.approx(0.5) and gaps["none"].low > 0


def test_true_heads_have_no_error_and_the_mean_head_that_of_the_mean():
    from voiceface.synthetic.layout import build_settings

    heads = scoring.generate_ground_truth_heads(build_settings("tiny"), range(116, 122))
    exact = scoring.compare_mesh_errors(list(3 * heads.vertices), heads.landmarks, heads)
    assert exact.ours.value == pytest.approx(0, abs=1e-9) and exact.baselines[scoring.MEAN_FACE].value > 0.01
    mean = scoring.compare_mesh_errors(
        [heads.baselines[scoring.MEAN_FACE]] * 5 + [None], heads.landmarks, heads
    )
    assert mean.ours.value == pytest.approx(mean.baselines[scoring.MEAN_FACE].value)
    assert mean.differences[scoring.MEAN_FACE].p_value == 1
    assert scoring.compare_mesh_errors([None] * 5 + [heads.vertices[5]], heads.landmarks, heads) is None


def test_the_right_face_is_marked_and_set_apart_where_it_is_far():
    faces = [GalleryEntry(str(k), (Path(f"{k}.jpg"),), str(k)) for k in range(12)]
    scores = -np.arange(12.0)
    near, far = (
        build_probe_ranking(Utterance("v", Path("v.wav"), who), faces, scores, num_shown=4)
        for who in ("2", "9")
    )
    assert [(c.rank, c.correct) for c in near.candidates] == [(1, False), (2, False), (3, True), (4, False)]
    assert [(c.rank, c.correct) for c in far.candidates][-1] == (10, True) and len(far.candidates) == 5
    unknown = build_probe_ranking(Utterance("v", Path("v.wav")), faces, scores, num_shown=4)
    assert not unknown.labels_known and not any(c.correct for c in unknown.candidates)


def test_a_page_turns_a_dozen_meshes_and_draws_the_others():
    mesh, corners = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]])
    answers = SystemOutputs(meshes={"m": [mesh] * 15}, triangles={"m": corners})
    cards = build_system_cards(answers, [Utterance(str(k), Path("v.wav")) for k in range(15)], [], range(15))
    kinds = [type(card.tiles[0]).__name__ for card in cards]
    assert kinds == ["MeshView"] * MAX_INTERACTIVE_MESHES + ["ImageTile"] * 3


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> Path:
    return write_population(tmp_path_factory.mktemp("people") / "tiny", "tiny", workers=1, progress=False)


@pytest.fixture
def own(population, tmp_path) -> tuple[Path, Path]:
    """Recordings and pictures of four synthetic identities in folders of their names."""
    rows = (population / "list_wav" / "vox1_test.csv").read_text().splitlines()[1:5]
    for row in rows:
        voice, name = row.split(",")[:2]
        clip = sorted((population / "wav" / voice).rglob("*.wav"))[0]
        for source, target in (
            (clip, tmp_path / "voices" / name),
            (population / "faces" / name, tmp_path / "faces" / name),
        ):
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                (target / "more").mkdir(parents=True)
                shutil.copy(source, target / "more" / source.name)
    return tmp_path / "voices", tmp_path / "faces"


def names_in(folder: Path) -> dict[str, int]:
    return {path.name: at for at, path in enumerate(sorted(folder.iterdir()))}


def test_folders_tell_who_is_who_and_bad_files_are_told(own):
    voices, faces = own
    person = sorted(path.name for path in voices.iterdir())[0]
    (voices / person / "._ghost.wav").write_bytes(b"x")
    (voices / person / "notes.txt").write_text("no sound")
    (voices / person / "broken.wav").write_bytes(b"RIFF no sound")
    import soundfile

    soundfile.write(voices / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(voices / "blink.wav", np.ones(800) / 2, 16000)
    (faces / person / "torn.jpg").write_bytes(b"\xff\xd8 no picture")
    found = collect_media(voices, faces)
    assert [voice.identity for voice in found.utterances] == sorted(
        names_in(voices).keys() - {"silence.wav", "blink.wav"}
    )
    assert [face.identity for face in found.gallery] == sorted(names_in(faces)) and found.has_labels
    assert all(len(face.files) == 2 for face in found.gallery)
    reasons = {found.relative_paths[file]: why for file, why in found.failures.items()}
    assert set(reasons) == {f"{person}/broken.wav", "silence.wav", "blink.wav", f"{person}/torn.jpg"}
    assert "no speech" in reasons["silence.wav"] and "0.05 s" in reasons["blink.wav"]


def test_pictures_stand_alone_where_folders_tell_nothing(own):
    voices, faces = own
    singly = collect_media(voices, faces, per_image=True)
    assert (
        len(singly.gallery) == 8 and singly.has_labels and {len(face.files) for face in singly.gallery} == {1}
    )
    one = collect_media(voices, faces.parent)  # everything lies below one folder more
    assert not one.has_labels
    only = collect_media(next(iter(sorted(voices.iterdir()))), next(iter(sorted(faces.iterdir()))))
    assert len(only.gallery) == 2 and not only.has_labels


def test_nothing_to_work_with_is_an_error_that_names_the_folder(tmp_path, own):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="--voices: no folder"):
        collect_media(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no recordings in .*empty"):
        collect_media(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no pictures in .*voices"):
        collect_media(own[0], own[0])
    (tmp_path / "empty" / "a.wav").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none of the recordings .* a.wav"):
        collect_media(tmp_path / "empty")


def test_everybody_is_shown_once_before_anybody_is_shown_twice():
    voices = [Utterance(f"{person}{k}", Path("v.wav"), person) for person in "abcd" for k in range(3)]
    assert [voices[row].identity for row in select_spread(voices, 4)] == ["a", "b", "c", "d"]
    assert [voices[row].identity for row in select_spread(voices, 2)] == ["a", "c"]
    assert len(select_spread(voices, 6)) == 6 and select_spread(voices, 99) == list(range(12))


def test_a_picture_of_somebody_else_is_told_from_a_true_one(population):
    from voiceface.synthetic.layout import build_settings

    settings = build_settings("tiny")
    rows = [row.split(",")[1] for row in (population / "list_wav" / "vox1_test.csv").read_text().split()[1:]]
    files = [sorted((population / "faces" / name).iterdir()) for name in rows]
    ids = [int(name.rsplit(".", 1)[1]) for name in rows]
    true = [np.asarray(Image.open(each[1])) for each in files]
    found = scoring.measure_image_agreement([*true[:7], None], files, settings, ids)
    shifted = scoring.measure_image_agreement(true[1:] + true[:1], files, settings, ids)
    assert (
        found.num_identities == 7
        and found.metrics["gender accuracy"].value == 1
        and found.metrics["1:2 matching"].value > 0.95
    )
    assert shifted.num_identities == 8 and shifted.metrics["1:2 matching"].value < 0.7
    assert scoring.measure_image_agreement([None] * 6 + true[6:], files, settings, ids) is None


def run_report(own, out, monkeypatch, *flags: str, record: tuple | None = None) -> int:
    voices, faces = own
    found = systems_of(names_in(faces)) if record is None else record
    monkeypatch.setattr(plugins, "find_systems", lambda: SystemSet(found, {"sf2f": "not installed: somehow"}))
    return report.main(["--voices", str(voices), "--faces", str(faces), "--out", str(out), *flags])


def test_a_report_marks_and_counts_what_the_folders_tell(own, tmp_path, monkeypatch, capsys):
    person = sorted(path.name for path in own[0].iterdir())[0]
    clip = next((own[0] / person).rglob("*.wav"))
    shutil.copy(clip, clip.with_name("refused.wav"))
    (own[0] / person / "broken.wav").write_bytes(b"RIFF")
    assert run_report(own, tmp_path / "out", monkeypatch, "--max-cards", "9") == 1
    said = capsys.readouterr()
    assert f"skipped {person}/broken.wav (all)" in said.err
    assert f"skipped {person}/more/refused.wav (grey): refused" in said.err
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (
        numbers["metrics"]["knowing"]["matching_accuracy"]["value"]
        == numbers["metrics"]["knowing"]["rank1_rate"]["value"]
        == 1
    )
    assert numbers["metrics"]["deaf"]["matching_accuracy"]["value"] == 0.5
    assert numbers["differences"]["deaf"]["value"] == 0.5
    assert f"{person}/broken.wav" in numbers["skipped"] and len(numbers["paired_identities"]) == 4
    assert text.count("✓ correct") == 10 and "correct face 1st of 4" in text  # five voices, two systems
    for needed in (
        "A stand-in: its answers",
        "A formula made",
        "not installed: somehow",
        'href="#responsible-use"',
    ):
        assert needed in text, needed
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", text)


def test_a_report_of_strangers_claims_nothing(own, tmp_path, monkeypatch):
    for number, folder in enumerate(sorted(own[0].iterdir())):
        folder.rename(folder.with_name(f"speaker{number}"))
    assert run_report(own, tmp_path / "page.html", monkeypatch) == 0
    text, numbers = (
        (tmp_path / "page.html").read_text("utf-8"),
        json.loads((tmp_path / "page.json").read_text()),
    )
    assert "no accuracy is reported" in text and "✓ correct" not in text and "best of 4" in text
    assert numbers["metrics"] == {} and "Ground-truth face" not in text


def test_without_faces_nothing_is_ranked_and_one_file_is_enough(own, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "find_systems", lambda: SystemSet(systems_of({}), {}))
    voice = next(iter(sorted(own[0].iterdir())))
    assert report.main(["--voices", str(voice), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "grey</figcaption>" in text and "ranking v2f" not in text and "no accuracy" not in text


def test_a_report_that_cannot_be_made_says_why_and_leaves_nothing(own, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="nobody"):
        run_report(own, tmp_path / "out", monkeypatch, "--systems", "nobody")
    with pytest.raises(ValueError, match="NAME=PATH"):
        run_report(own, tmp_path / "out", monkeypatch, "--weights", "knowing")
    with pytest.raises(FileNotFoundError, match="nothing at"):
        run_report(own, tmp_path / "out", monkeypatch, "--weights", "knowing=nowhere")
    with pytest.raises(ValueError, match=r"stranger.*not among the selected"):
        run_report(own, tmp_path / "out", monkeypatch, "--weights", f"stranger={tmp_path}")
    refusing = [path.rename(path.with_name("refused.wav")) for path in sorted(own[0].rglob("*.wav"))]
    with pytest.raises(ValueError, match="No system could process any recording"):
        run_report(own, tmp_path / "out", monkeypatch, record=systems_of({})[2:3])
    assert refusing and not list((tmp_path / "out").glob("*.html"))


@pytest.fixture
def quick_demo(monkeypatch, population, tmp_path):
    """A demo of the stand-ins on the tiny population."""
    monkeypatch.setattr(people, "PRESET", "tiny")
    shutil.copytree(population, tmp_path / "demo" / "population")
    rows = [
        row.split(",") for row in (population / "list_wav" / "vox1_test.csv").read_text().splitlines()[1:]
    ]
    owners = {folder: at for at, row in enumerate(rows) for folder in row[:2]}

    def run(names=()) -> tuple[Path, dict]:
        chosen = SystemSet(systems_of(owners, names), {"voicestyle": "not installed: somehow"})
        page = demo.run_demo(tmp_path / "demo", pretrained=True, systems=chosen, workers=1)
        return page, json.loads(page.with_name("report.json").read_text())

    return run, [row[1] for row in rows]


def test_a_demo_shows_two_women_and_two_men_whom_nobody_knows(quick_demo):
    run, names = quick_demo
    page, numbers = run()
    assert len(numbers["identities_shown"]) == 4
    again = run(names=numbers["identities_shown"][:1])[1]
    assert numbers["identities_shown"][0] not in again["identities_shown"]  # a model was trained on them
    pairs = numbers["association"]["all_pairs"][0]["systems"]
    assert pairs["knowing"]["g"]["value"] == 1 and pairs["deaf"]["g"]["value"] == 0.5
    text = page.read_text("utf-8")
    assert text.count("Ground-truth face</figcaption>") == text.count("Ground-truth head</figcaption>") == 4
    assert text.count('class="ranking v2f"') == 8 and "correct face 1st of 8" in text
    assert "not installed: somehow" in text and "8 identities" in text
    assert numbers["heads"]["mean"]["ours"]["value"] == pytest.approx(
        numbers["heads"]["mean"]["baselines"]["mean face"]["value"], rel=1e-4
    )
    assert set(numbers["images"]) == {"grey"} and names


def test_a_slow_maker_makes_pictures_of_the_cards_alone_and_starts_from_others(quick_demo, monkeypatch):
    run, _ = quick_demo
    given: list[Path] = []

    class Slow(Grey):
        identity_names, made = (), 0

        def generate_image(self, utterances):
            Slow.made += 1
            return super().generate_image(utterances)

    def load(weights, *, device, bank):
        given.extend(bank)
        return Slow()

    monkeypatch.setitem(
        globals(), "systems_of", lambda *_: (plugins.ImageSystem("slow", "", load, is_fast=False),)
    )
    page, numbers = run()
    assert Slow.made == 4 and numbers["images"]["slow"]["num_identities"] == 4
    assert numbers["association"] is None
    assert given and all(
        path.is_file() and path.parent.name[0] in "AB" for path in given
    )  # validation people
    assert page.read_text("utf-8").count("slow</figcaption>") == 4


def test_people_whom_a_model_knows_are_told():
    said = " ".join(demo_page.summarise_demo({"one": 3}, pretrained=True))
    assert "one 3" in said and "too high" in said
    assert "No test identity" in " ".join(demo_page.summarise_demo({}, pretrained=False))


def test_a_quick_population_grows_into_the_whole_one(tmp_path, monkeypatch):
    monkeypatch.setattr(people, "PRESET", "tiny")
    some = people.generate_demo_data(tmp_path / "p", pretrained=True, workers=1)
    before = {path: path.read_bytes() for path in (tmp_path / "p" / "wav").rglob("*.wav")}
    everybody = people.generate_demo_data(tmp_path / "p", pretrained=False, workers=1)
    assert some.ids == everybody.ids and len(some.ids) == 8
    assert people.generate_demo_data(tmp_path / "p", pretrained=True, workers=1).ids == some.ids
    after = list((tmp_path / "p" / "wav").rglob("*.wav"))
    assert len(after) == 2 * 28 and len(before) == 2 * 12
    assert all(path.read_bytes() == content for path, content in before.items())


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", stopped)
    monkeypatch.setattr(plugins, "find_systems", lambda: SystemSet(systems_of({}), {}))
    assert demo.main(["--pretrained", "--out", str(tmp_path / "d")]) == 130
    assert f"voiceface demo --pretrained --out {tmp_path / 'd'}" in capsys.readouterr().err


TRAINING = """
import pathlib, signal, sys, time
name, _, population, _, out, _, device = sys.argv[1:]
out = pathlib.Path(out); out.mkdir(parents=True, exist_ok=True)
if name == "bad":
    print("no such thing"); raise SystemExit(3)
def save(*_):
    (out / "state").write_text("saved"); raise SystemExit(143)
signal.signal(signal.SIGTERM, save)
(out / "began").touch()
if name == "long" and not (out / "state").exists():
    time.sleep(60)
(out / "run.txt").write_text(f"{out / 'main'}\\n")
"""


@pytest.fixture
def command(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(parallel_training, "PROGRESS_INTERVAL", 0.1)
    (tmp_path / "train.py").write_text(TRAINING)
    return [sys.executable, str(tmp_path / "train.py")]


def test_trainings_run_beside_each_other_and_a_failure_names_its_log(tmp_path, command):
    said: list[str] = []
    found = parallel_training.train_systems(
        ["a", "b", "c"], tmp_path, tmp_path, jobs=2, command=command, on_progress=said.append
    )
    assert found == {name: tmp_path / name / "main" for name in "abc"} and len(said) >= 3
    with pytest.raises(ValueError, match=r"bad: .*code 3 \(no such thing\); see .*bad.txt"):
        parallel_training.train_systems(["bad", "d"], tmp_path, tmp_path, command=command)
    assert (tmp_path / "d" / "run.txt").is_file()


def test_a_stopped_training_saves_and_goes_on(tmp_path, command):
    def stop(text: str) -> None:
        if "stopping" not in text and (tmp_path / "long" / "began").exists():
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel_training.train_systems(["long"], tmp_path, tmp_path, command=command, on_progress=stop)
    assert (tmp_path / "long" / "state").read_text() == "saved" and time.monotonic() - begin < 30
    assert (
        parallel_training.train_systems(["long"], tmp_path, tmp_path, command=command)["long"]
        == tmp_path / "long" / "main"
    )


def test_a_training_leaves_when_the_one_that_started_it_is_gone():
    code = (
        "import threading, time, voiceface.suite.parallel_training as t; "
        "threading.Thread(target=t._exit_with_parent, daemon=True).start(); time.sleep(SECONDS)"
    )
    long, short = (
        subprocess.Popen([sys.executable, "-c", code.replace("SECONDS", wait)], stdin=subprocess.PIPE)
        for wait in ("60", "0.2")
    )
    long.stdin.close()
    assert long.wait(30) == -signal.SIGTERM
    assert short.wait(30) == 0  # one that is done just ends


def test_progress_is_the_last_step_of_the_run_that_goes_on(tmp_path):
    assert parallel_training.describe_progress(tmp_path / "a") == "a: beginning"
    (tmp_path / "a" / "main").mkdir(parents=True)
    (tmp_path / "a" / "main" / "log.jsonl").write_text('{"step": 4}\n{"step": 9}\n')
    assert parallel_training.describe_progress(tmp_path / "a") == "a: main step 9"
