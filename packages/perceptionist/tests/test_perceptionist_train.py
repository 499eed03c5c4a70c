"""Training of every kind: what a run leaves behind, same bytes after a resume, what options change."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from perceptionist.config import PerceptionistConfig, stored
from perceptionist.draws import Faces, PicturesWithTruth, Triplets, face_input, shared_crop
from perceptionist.face_model_files import open_face_model
from perceptionist.models import load_expert_of, load_voice_network_of, load_voice_to_mesh, read_weights
from perceptionist.people import People, Pictures, Voices, invented_people, open_people, ratios_of
from perceptionist.plans import Start, landmarks_of
from perceptionist.train import make_schedule, train
from perceptionist.validation import figures, held_out, predict
from voiceface.checkpoint import CheckpointError
from voiceface.cli import run_main
from voiceface.config import ConfigError, bundled_configs, load_config
from voiceface.runlog import WALL_CLOCK_FIELDS

KINDS = ("expert", "speaker", "supervised", "unsupervised")
STAGE = "[{expansion: 1.0, channels: 8, blocks: 1, stride: 2}]"
IMAGE = ("side=32", "stem=4", f"stages={STAGE}", "features=16", "inter=1")
VOICE = ("networks.voice.channels=[8,8]", "networks.voice.embedding=16")
COMMON = ("training.batch_size=4", "training.log_every=1", "training.save_every=1", "training.workers=0")
PUBLISHED = (  # what the quick cascade changes; test_perceptionist_repairs.py has the changes
    "losses.pictures.pixels=0",
    "losses.distillation.into_generator=true",
    "data.faces=any",
    "training.student=random",
    "training.faces_first=0",
    "training.student_after=0",
    "training.face_rate=1",
)
TINY = {
    "expert": tuple(f"networks.expert.{word}" for word in IMAGE),
    "speaker": VOICE,
    "supervised": (*VOICE, "networks.head.embedding=16", "training.validate_every=2"),
    "unsupervised": (
        *VOICE,
        *(f"networks.student.{word}" for word in IMAGE),
        "networks.generator.embedding=16",
        "networks.generator.channels=[8,8,8]",
        "networks.face.channels=[8,8,8]",
        "training.validate_every=2",
        *PUBLISHED,
    ),
}
SIZES = {"train": 8, "val": 4, "test": 3, "clip_seconds": 1.0}


def config_of(kind: str, *words: str, cfg: str = "quick_") -> PerceptionistConfig:
    name = cfg + kind if cfg.endswith("_") else cfg
    overrides = (*COMMON, "training.max_iter=2", *TINY[kind], *words)
    return load_config(name, PerceptionistConfig, "perceptionist", overrides)


def rows(run: Path) -> list[dict[str, Any]]:
    """The log without its clock."""
    found = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in WALL_CLOCK_FIELDS} for row in found]


def outcome(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    return (run / "model.safetensors").read_bytes(), rows(run)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def people() -> People:
    return invented_people("tiny", "train", open_face_model(), workers=1, progress=False, **SIZES)


@pytest.fixture(scope="module")
def judges() -> People:
    return invented_people("tiny", "val", open_face_model(), workers=1, progress=False, **SIZES)


Train = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(people: People, judges: People, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of two steps of each kind."""
    found: dict[str, Path] = {}
    for kind in KINDS:
        out = tmp_path_factory.mktemp("runs") / kind
        given = Start(found["expert"], found["supervised"]) if kind == "unsupervised" else Start()
        train(config_of(kind), people, out, judges=judges, start=given, threads=1)
        found[kind] = out
    return found


@pytest.fixture
def go(people: People, judges: People, runs: dict[str, Path], tmp_path: Path) -> Train:
    """Train a kind with some settings in a folder; gives the folder."""

    def run(kind: str, *words: str, name: str = "run", **options: Any) -> Path:
        given = Start(runs["expert"], runs["supervised"]) if kind == "unsupervised" else Start()
        options = {"start": given, "people": people, "judges": judges, **options}
        train(config_of(kind, *words), options.pop("people"), tmp_path / name, threads=1, **options)
        return tmp_path / name

    return run


# configurations


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def bundled(name: str) -> dict[str, Any]:
    return leaves(stored(load_config(name, PerceptionistConfig, "perceptionist")))


def test_every_bundled_file_is_complete_and_named_after_itself() -> None:
    names = bundled_configs("perceptionist")
    assert {*KINDS, *(f"quick_{kind}" for kind in KINDS), "published_unsupervised"} <= set(names)
    for name in names:
        text = (resources.files("perceptionist") / "configs" / f"{name}.yaml").read_text()
        assert bundled(name)["name"] == name
        # Networks are compared as they are stored: a list of stages is one value.
        assert leaves(yaml.safe_load(text)).keys() == bundled(name).keys(), name


def test_published_and_meant_differ_in_the_quirks_only() -> None:
    meant, published = bundled("unsupervised"), bundled("published_unsupervised")
    assert {key: published[key] for key in meant if meant[key] != published[key]} == {
        "name": "published_unsupervised",
        "losses.distillation.order": "target_first",
        "losses.triplet.form": "axis",
        "data.triplets": "published",
        "training.voice_network": "batch_statistics",
        "evaluation.mean_over": "files",
    }


def test_the_cascade_has_the_published_numbers() -> None:
    """Specification, sections 2, 4, 6 and 7."""
    found = bundled("unsupervised")
    expected = {
        "networks.generator.channels": [1024, 512, 256, 128, 64],
        "networks.student.side": 120,
        "losses.distillation.vertices": 0.5,
        "losses.distillation.transfer": 10000.0,
        "losses.triplet.weight": 1.5,
        "data.frames.file": 800,
        "data.frames.shortest": 300,
        "optimiser.lr": 2e-4,
        "optimiser.betas": [0.5, 0.999],
        "training.max_iter": 50_000,
        "training.batch_size": 64,
        "training.noise": 0.05,
        "training.validate_every": 2000,
    }
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("size", ["", "quick_"])
@pytest.mark.parametrize("source", ["speaker", "supervised"])
def test_a_voice_network_that_was_trained_before_fits_the_cascade(size: str, source: str) -> None:
    one, other = bundled(f"{size}{source}"), bundled(f"{size}unsupervised")
    voices = [key for key in one if key.startswith(("networks.voice.", "data.speech."))]
    assert len(voices) == 9 and {key: one[key] for key in voices} == {key: other[key] for key in voices}


def test_the_rate_of_an_expert_follows_the_published_epochs() -> None:
    rate = make_schedule(load_config("expert", PerceptionistConfig, "perceptionist"))
    epoch = 664
    steps = (0, 5 * epoch - 1, 5 * epoch, 48 * epoch, 48 * epoch + 1, 64 * epoch + 1)
    assert [rate(step) for step in steps] == pytest.approx([0.016, 0.016, 0.08, 0.08, 0.016, 0.0032])


@pytest.mark.parametrize(
    ("kind", "word", "said"),
    [
        ("supervised", "networks.head=null", "networks.head"),
        ("expert", "networks.voice={}", "networks.voice"),
        ("unsupervised", "training.voice_network=trained", "training.voice_network"),
        ("supervised", "training.voice_network=batch_statistics", "training.voice_network"),
        ("supervised", "data.frames.longest=900", "longest"),
        ("supervised", "losses.supervised.sclae=1.0", "losses.supervised.scale"),
    ],
)
def test_sections_that_do_not_fit_the_kind_are_refused(kind: str, word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        config_of(kind, word)


# data


def test_positives_are_of_the_same_and_negatives_of_other_people() -> None:
    labels = np.repeat(np.arange(4), [3, 1, 2, 4])
    bands = [np.full((1000, 64), i, np.float32) for i in range(10)]
    triplets = Triplets(Voices(labels, bands), 800)
    seen: dict[int, set[int]] = {}
    for seed in range(60):
        for index in range(10):
            positive, negative = triplets.partners(index, np.random.default_rng(seed))
            assert labels[positive] == labels[index] != labels[negative]
            assert (positive == index) == (index == 3), "another file wherever there is one"
            seen.setdefault(index, set()).add(negative)
    assert seen[0] == set(range(3, 10)), "every file of the others is drawn"


def test_published_triplets_take_the_next_file_and_any() -> None:
    labels = np.repeat(np.arange(2), 3)
    triplets = Triplets(Voices(labels, [np.zeros((1000, 64), np.float32)] * 6), 800, "published")
    drawn = [[triplets.partners(i, np.random.default_rng(s)) for i in range(6)] for s in range(80)]
    assert [positive for positive, _ in drawn[0]] == [1, 2, 3, 4, 5, 4]
    assert {negative for row in drawn for negative in [row[0][1]]} == set(range(6))


def test_the_shared_crop_spans_its_range_and_depends_on_the_step_alone() -> None:
    frames = config_of("supervised", "data.frames.shortest=300", "data.frames.longest=302").data.frames
    found = [shared_crop(frames, 1, step) for step in range(400)]
    assert {piece.stop - piece.start for piece in found} == {300, 301, 302}
    assert min(p.start for p in found) < 20 and max(p.stop for p in found) > 780
    assert found == [shared_crop(frames, 1, step) for step in range(400)]


def test_pictures_become_numbers_as_the_networks_expect() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = 255, 0, 51
    assert face_input(picture, 2)[:, 0, 0].tolist() == pytest.approx([1, -1, -0.6])
    assert face_input(picture, 2, mirrored=True)[:, 0, 1].tolist() == pytest.approx([1, -1, -0.6])
    one = Pictures(np.zeros(1, np.int64), [picture])
    drawn = PicturesWithTruth(one, np.zeros((1, 62), np.float32), 2, published=True)
    blue, green, red = drawn.draw(0, np.random.default_rng(0))["face"][:, 0, 0]
    assert (red, green, blue) == pytest.approx((127.5 / 128, -127.5 / 128, (51 - 127.5) / 128))
    mirrored = [Faces(one, 2).draw(0, np.random.default_rng(s))["face"][0, 0, 1] == 1 for s in range(100)]
    assert 30 < sum(mirrored) < 70


def test_the_truth_of_pictures_puts_landmarks_where_they_are_drawn(people: People) -> None:
    from voiceface.population.layout import settings_of
    from voiceface.population.people import draw_people
    from voiceface.population.render import view_of

    settings = settings_of("tiny", **SIZES)
    drawn = draw_people(np.array(settings.ids("train")), seed=settings.seed, rho=settings.rho)
    assert people.truth is not None and people.truth.pictures is not None
    found = landmarks_of(open_face_model(), torch.from_numpy(people.truth.pictures)).numpy()
    for row in (0, 5, 9):
        person, picture = divmod(row, settings.pictures)
        place = list(drawn.names).index(people.names[person])
        view = view_of(drawn, place, picture, nuisance=settings.nuisance)
        gap = np.linalg.norm(found[row, :2].T - 120 * view.landmarks, axis=1)
        assert gap.mean() < 2 and gap.max() < 6, "a camera with perspective is a few pixels off"


def test_a_written_population_reads_as_the_one_in_memory(tmp_path: Path, people: People) -> None:
    from voiceface.population.write import write_population

    few = SIZES | {"train": 2, "val": 1, "test": 1}
    root = write_population(tmp_path / "p", "tiny", workers=1, lists=False, progress=False, **few)
    read = open_people(root, "train", open_face_model())
    assert read.notice == people.notice and set(read.names) < set(people.names)
    for one, other in ((read, people),):
        assert one.truth is not None and other.truth is not None
        assert one.ratios is not None and other.ratios is not None
        assert one.truth.pictures is not None and other.truth.pictures is not None
        for label, name in enumerate(one.names):
            same = other.names.index(name)
            assert np.allclose(one.ratios[label], other.ratios[same], atol=1e-5)
            rows, theirs = one.faces.labels == label, other.faces.labels == same
            assert np.allclose(one.truth.pictures[rows], other.truth.pictures[theirs], atol=2e-3)
            mine, yours = (
                {side.voices.read(int(i)).tobytes() for i in np.flatnonzero(side.voices.labels == place)}
                for side, place in ((one, label), (other, same))
            )
            assert mine == yours and len(mine) == 2
    assert read.voices.read(0).shape == (1000, 64)
    with pytest.raises(ValueError, match="holds nobody"):
        open_people(root, "tset", open_face_model())


def test_the_published_layout_gives_pairs_truth_and_judges(tmp_path: Path, people: People) -> None:
    rng = np.random.default_rng(0)
    model = open_face_model()
    meta = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
    named = ["Fay_One", "Gus_Two", "Ann_Three"]
    for number, name in enumerate(named):
        meta += f"id1000{number}\t{name}\tf\tIreland\tdev\n"
        for folder, word in (("fbank", f"id1000{number}/video"), ("val_sub", name)):
            (tmp_path / folder / word).mkdir(parents=True)
            np.save(tmp_path / folder / word / "00001.npy", rng.normal(size=(1000, 64)).astype(np.float32))
        for folder in ("VGG_ALL_FRONTAL", "AtoE_sub", "fitted"):
            (tmp_path / folder / name).mkdir(parents=True)
        from PIL import Image

        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(
            tmp_path / "VGG_ALL_FRONTAL" / name / "1.jpg"
        )
        np.savetxt(tmp_path / "AtoE_sub" / name / "1.xyz", model.references["male"])
        np.save(tmp_path / "fitted" / name / "1.npy", np.full(228, number, np.float32))
    (tmp_path / "vox1_meta.csv").write_text(meta)
    found = open_people(tmp_path, "train", model, truth=tmp_path / "fitted", in_memory=True)
    assert found.names == ("Fay_One", "Gus_Two") and found.voices.labels.tolist() == [0, 1]
    assert found.truth is not None and found.truth.shape[:, 0].tolist() == [0, 1]
    assert found.truth.shape.shape == (2, 40) and found.faces.read(1).shape == (64, 64, 3)
    small = open_people(tmp_path, "val", model)
    assert small.names == ("Ann_Three",) and small.ratios is not None
    with pytest.raises(FileNotFoundError, match="neither a population"):
        open_people(tmp_path / "fbank", "train", model)


# runs


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ("expert", {"landmarks", "parameters"}),
        ("speaker", {"speaker"}),
        ("supervised", {"scale", "shape", "expression"}),
        (
            "unsupervised",
            {"D_real", "D_fake", "C_real", "G_D_fake", "G_C_fake", "Distill_vertices", "Distill_pooled"}
            | {"Distill_inter", "Triplet"},
        ),
    ],
)
def test_a_run_logs_every_term_and_says_what_it_is(
    runs: dict[str, Path], people: People, kind: str, terms: set[str]
) -> None:
    steps = [row for row in rows(runs[kind]) if "total_loss" in row]
    assert [row["step"] for row in steps] == [0, 1]
    for row in steps:
        assert set(row) - {"step", "lr", "total_loss"} == terms
        assert row["total_loss"] == pytest.approx(sum(row[name] for name in terms), rel=1e-5)
    judged = [row["step"] for row in rows(runs[kind]) if "val/mean" in row]
    assert judged == ([] if kind in ("expert", "speaker") else [0, 2])
    loaded = read_weights(runs[kind])
    assert loaded.kind == kind and loaded.extra["names"] == list(people.names)
    assert "invented people" in loaded.extra["notice"] and loaded.extra["step"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_same_bytes(runs: dict[str, Path], go: Train, kind: str) -> None:
    class Stop(Exception): ...

    from perceptionist import train as module

    whole, calls, make = runs[kind], iter(range(10)), module.make_schedule

    def stopping(config: PerceptionistConfig) -> Callable[[int], float]:
        rate = make(config)

        def at(step: int) -> float:
            if step == 1 and next(calls) == 0:
                raise Stop
            return rate(step)

        return at

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "make_schedule", stopping)
        with pytest.raises(Stop):
            go(kind)
    assert outcome(go(kind, resume=True, start=Start())) == outcome(whole), "given files are in the state"


def test_a_killed_run_goes_on_to_the_same_bytes(
    runs: dict[str, Path], tmp_path: Path, people: People, judges: People
) -> None:
    """Kill -9 inside the second step of the cascade, in a process of its own."""
    stored_people = tmp_path / "people.pkl"
    stored_people.write_bytes(pickle.dumps((people, judges)))
    code = f"""
import os, pickle, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
import test_perceptionist_train as here
from perceptionist import plans
real, count = plans.generator_side, iter(range(10))
def die(*given, **named):
    if next(count) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)
plans.generator_side = die
people, judges = pickle.loads(here.Path({str(stored_people)!r}).read_bytes())
given = here.Start(here.Path({str(runs["expert"])!r}), here.Path({str(runs["supervised"])!r}))
here.train(here.config_of("unsupervised"), people, {str(tmp_path / "run")!r},
           judges=judges, start=given, threads=1)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()
    train(config_of("unsupervised"), people, tmp_path / "run", judges=judges, threads=1, resume=True)
    assert outcome(tmp_path / "run") == outcome(runs["unsupervised"])


def test_weights_give_meshes_pictures_and_poses(runs: dict[str, Path]) -> None:
    features = torch.randn(2, 64, 300)
    supervised, cascade = (load_voice_to_mesh(runs[kind]) for kind in ("supervised", "unsupervised"))
    for model in (supervised, cascade):
        meshes = model.vertices(features)
        assert meshes.shape == (2, 3, model.face_model.vertex_count) and "invented people" in model.notice
        assert not torch.equal(meshes[0], meshes[1])
        shape, expression = (each.numpy() for each in model.codes(features)[1:])
        corners = meshes.transpose(1, 2).numpy()
        from perceptionist.proportions import ratios

        assert np.allclose(
            ratios(corners, model.face_model.pairs), ratios_of(model.face_model, shape, expression)
        )
    numbers = supervised.head(supervised.voice.encode(features))  # type: ignore[misc]
    assert torch.allclose(supervised.vertices(features), supervised.face_model.supervised(numbers), atol=1e-3)
    found = cascade.seen(cascade.pictures(features))
    assert found.shape == (2, 62) and cascade.face_model.frontal(found).shape[0] == 2
    with pytest.raises(ValueError, match="makes no pictures"):
        supervised.pictures(features)
    with pytest.raises(CheckpointError, match="hears nothing"):
        load_voice_to_mesh(runs["expert"])
    with pytest.raises(CheckpointError, match="makes no face"):
        load_voice_to_mesh(runs["speaker"])
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        read_weights(runs["expert"].parent)


def test_fixed_parts_keep_every_bit_and_the_others_learn(runs: dict[str, Path]) -> None:
    cascade = read_weights(runs["unsupervised"]).state
    for name, source in (
        ("e", load_voice_network_of(runs["supervised"])),
        ("expert", load_expert_of(runs["expert"])),
    ):
        for key, value in source.state_dict().items():
            assert torch.equal(cascade[f"{name}.{key}"], value), key
    early = read_weights(runs["unsupervised"] / "checkpoints" / "step_000001.safetensors").state
    assert not any(key.startswith(("f.", "d.", "c.")) for key in cascade)
    for word in ("g.model.0.weight", "student.features.0.0.weight"):
        assert not torch.equal(early[word], cascade[word])
    assert {"f.model.0.weight", "d.model.weight", "c.model.weight"} <= set(early)


def first(run: Path) -> dict[str, float]:
    """Terms of the first step."""
    return next(row for row in rows(run) if "total_loss" in row)


@pytest.mark.parametrize(
    ("word", "changed"),
    [
        ("losses.distillation.order=target_first", {"Distill_pooled", "Distill_inter"}),
        ("losses.triplet.form=axis", {"Triplet"}),
        ("data.triplets=published", {"Triplet"}),
    ],
)
def test_a_published_quirk_changes_its_own_terms(
    runs: dict[str, Path], go: Train, word: str, changed: set[str]
) -> None:
    plain, quirk = first(runs["unsupervised"]), first(go("unsupervised", word, "training.max_iter=1"))
    if "triplets" in word:  # drawing a negative takes other numbers, so crops of the batch may move too
        assert plain["Triplet"] != quirk["Triplet"] and plain["C_real"] == quirk["C_real"]
        return
    differing = {name for name in plain if plain[name] != pytest.approx(quirk[name], rel=1e-6)}
    assert differing == changed | {"total_loss"}


def test_batch_statistics_change_the_voices_and_nothing_stored(runs: dict[str, Path], go: Train) -> None:
    run = go("unsupervised", "training.voice_network=batch_statistics")
    plain, drifting = first(runs["unsupervised"]), first(run)
    assert plain["G_D_fake"] != drifting["G_D_fake"] and plain["D_real"] == drifting["D_real"]
    source = load_voice_network_of(runs["supervised"]).state_dict()
    state = read_weights(run).state
    for key, value in source.items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(state[f"e.{key}"], value), key
    never = go(
        "unsupervised",
        "training.voice_network=batch_statistics",
        "training.validate_every=-1",
        "training.max_iter=1",
        name="never",
    )
    assert first(never)["G_D_fake"] == plain["G_D_fake"], "the first validation is what switches it"


def test_without_triplets_only_anchors_are_drawn(go: Train) -> None:
    run = go("unsupervised", "losses.triplet=null", "training.max_iter=1")
    assert "Triplet" not in first(run) and "Distill_inter" in first(run)


def test_an_expert_may_learn_with_refiners(people: People, tmp_path: Path) -> None:
    words = (*TINY["expert"], *COMMON, "training.max_iter=1", "networks.refiners.features=16")
    config = load_config("expert", PerceptionistConfig, "perceptionist", words)
    train(config, people, tmp_path / "run", threads=1)
    assert {"refined", "reverse", "agreement"} <= set(first(tmp_path / "run"))
    assert load_expert_of(tmp_path / "run").config.side == 32


def test_a_given_voice_network_stays_fixed_unless_told(runs: dict[str, Path], go: Train) -> None:
    source = load_voice_network_of(runs["supervised"]).state_dict()
    given = Start(voice_network=runs["supervised"])
    for how, same in (("fixed", True), ("trained", False)):
        run = go("supervised", f"training.voice_network={how}", name=how, start=given)
        state = read_weights(run).state
        assert all(torch.equal(state[f"e.{key}"], value) for key, value in source.items()) is same


def test_mean_over_files_and_people_differ_where_counts_do(runs: dict[str, Path], judges: People) -> None:
    kept = [0, 1, 2, 3, 4, 6]  # of the last two people one recording each
    voices = Voices(judges.voices.labels[kept], [judges.voices.items[i] for i in kept])
    jury = held_out(dataclasses.replace(judges, voices=voices), judges, None)
    model = load_voice_to_mesh(runs["supervised"])
    found = predict(model, jury.people, 3)
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 3]
    people, files = (figures(found, jury, how) for how in ("people", "files"))
    assert judges.ratios is not None
    errors = np.abs(found.ratios - judges.ratios[found.labels]).mean(1)
    assert files["mean"] == pytest.approx(errors.mean())
    assert people["mean"] == pytest.approx(
        (errors[:2].mean() + errors[2:4].mean() + errors[4] + errors[5]) / 4
    )


def test_one_prediction_is_as_good_alone_as_in_a_batch(runs: dict[str, Path], judges: People) -> None:
    model = load_voice_to_mesh(runs["supervised"])
    together, alone = (predict(model, judges, 2, batch=size) for size in (16, 1))
    assert np.allclose(together.ratios, alone.ratios, atol=1e-6)


# bad input


def test_what_a_kind_needs_is_asked_for(go: Train, people: People, runs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="--expert"):
        go("unsupervised", name="a", start=Start(voice_network=runs["supervised"]))
    with pytest.raises(ValueError, match="--voice-network"):
        go("unsupervised", name="b", start=Start(expert=runs["expert"]))
    with pytest.raises(ValueError, match="--voice-network"):
        go("supervised", "training.voice_network=fixed", name="c")
    with pytest.raises(ValueError, match="--truth"):
        go("supervised", name="d", people=dataclasses.replace(people, truth=None))
    with pytest.raises(CheckpointError, match="holds no expert"):
        go("unsupervised", name="e", start=Start(runs["supervised"], runs["supervised"]))
    with pytest.raises(CheckpointError):
        go("unsupervised", "networks.voice.channels=[4,4]", name="f")
    with pytest.raises(ValueError, match="generator takes"):
        go("unsupervised", "networks.generator.embedding=8", name="g")


def test_other_people_cannot_go_on_with_a_run(runs: dict[str, Path], go: Train, people: People) -> None:
    go("expert", "training.max_iter=1")
    other = dataclasses.replace(people, names=tuple(reversed(people.names)))
    with pytest.raises(ValueError, match="other training people"):
        go("expert", "training.max_iter=1", people=other, resume=True)


def test_the_command_trains_and_explains_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "quick_expert", "--data", tmp_path, "--out", tmp_path / "run", "--device", "cpu"]
    assert run_main("perceptionist.train", [str(word) for word in words]) == 1
    said = capsys.readouterr().err
    assert "neither a population" in said and "Traceback" not in said and not (tmp_path / "run").exists()
    assert run_main("perceptionist.train", [*map(str, words), "--expert", str(tmp_path / "none")]) == 1
    assert "--expert" in capsys.readouterr().err
