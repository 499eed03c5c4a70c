"""What lets a small cascade learn, each an option beside the published behaviour."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from perceptionist.cascade import Cascade, face_side, generator_side, see
from perceptionist.config import PerceptionistConfig, SpeakerLossConfig
from perceptionist.dataset.open import open_people
from perceptionist.dataset.records import People, Pictures, Voices
from perceptionist.face_models.io import open_face_model
from perceptionist.losses import DistillationConfig, PicturesConfig
from perceptionist.models import Speaker, load_voice_network_of, read_weights
from perceptionist.sampling import Faces, PicturesWithTruth, Triplets
from perceptionist.train import train
from perceptionist.training_stages import Start, speaker_terms
from perceptionist.voice_network import VoiceNetworkConfig, unit
from small_perceptionist_runs import SIZES, config_of
from test_perceptionist_cascade import mesh, small
from voiceface.runtime.config import ConfigError, load_config


@pytest.fixture(scope="module")
def given(people: People, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """An expert and a voice network, one step each."""
    folder = tmp_path_factory.mktemp("given")
    for kind in ("expert", "speaker"):
        train(config_of(kind, "training.max_iter=1"), people, folder / kind, threads=1)
    return Start(folder / "expert", folder / "speaker")


def cascade_run(people: People, given: Start, out: Path, *words: str) -> list[dict[str, Any]]:
    """Terms of every step of a run without validation."""
    config = config_of("unsupervised", "training.validate_every=-1", *words)
    train(config, people, out, start=given, threads=1)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# the voice network


def test_a_voice_network_learns_who_speaks_and_keeps_no_classifier(given: Start) -> None:
    assert given.voice_network is not None
    state = read_weights(given.voice_network).state
    assert state and all(key.startswith("e.") for key in state)
    assert load_voice_network_of(given.voice_network).config.embedding == 16


def test_cosines_depend_on_no_length_and_the_plain_layer_does() -> None:
    torch.manual_seed(0)
    model = Speaker(VoiceNetworkConfig(bands=5, channels=(6,), embedding=4), 3).eval()
    voices, labels = torch.randn(6, 5, 20), torch.arange(6) % 3
    cosines, plain = SpeakerLossConfig(scale=8.0), SpeakerLossConfig()
    before = [speaker_terms(model, voices, labels, how)["speaker"] for how in (cosines, plain)]
    directions = unit(model.c.model.weight)
    by_hand = 8 * unit(model.e(voices)) @ directions.T
    assert before[0].item() == pytest.approx(torch.nn.functional.cross_entropy(by_hand, labels).item())
    with torch.no_grad():
        model.c.model.weight *= 3
    after = [speaker_terms(model, voices, labels, how)["speaker"] for how in (cosines, plain)]
    assert after[0].item() == pytest.approx(before[0].item()) and abs(after[1] - before[1]) > 1e-4


# data


def test_a_population_of_pictures_alone_teaches_an_expert(tmp_path: Path) -> None:
    from voiceface.synthetic.writer import write_population

    few = SIZES | {"train": 3, "val": 1, "test": 1, "clips": 0}
    root = write_population(tmp_path / "p", "tiny", workers=1, lists=False, progress=False, **few)
    read = open_people(root, "train", open_face_model(), voices=False)
    assert len(read.faces) == 6 and not len(read.voices)
    with pytest.raises(FileNotFoundError, match="no recordings"):
        open_people(root, "train", open_face_model())


def test_pictures_of_the_people_heard() -> None:
    labels = np.repeat(np.arange(3), 2)
    voices = Voices(labels, [np.zeros((1000, 64), np.float32)] * 6)
    shades = Pictures(np.array([2, 1, 0, 1]), [np.full((4, 4, 3), 10 * i, np.uint8) for i in range(4)])
    triplets = Triplets(voices, 800, alone=True, faces=Faces(shades, 4, flip=0))
    seen: dict[int, set[int]] = {}
    for seed in range(40):
        for index in range(6):
            drawn = triplets.draw(index, np.random.default_rng(seed))
            seen.setdefault(drawn["label"], set()).add(round(float(drawn["face"].mean() * 127.5 + 127.5)))
    assert seen == {0: {20}, 1: {10, 30}, 2: {0}}
    with pytest.raises(ValueError, match="1 people with recordings have no picture"):
        Triplets(voices, 800, alone=True, faces=Faces(Pictures(np.array([0, 1]), shades.items[:2]), 4))


def test_blur_keeps_the_mean_and_takes_the_edges() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (32, 32, 3), np.uint8)
    one = Pictures(np.zeros(1, np.int64), [picture])
    sharp, soft = (
        PicturesWithTruth(one, np.zeros((1, 62), np.float32), 32, blur=blur).draw(0, np.random.default_rng(1))
        for blur in (0.0, 3.0)
    )
    assert soft["face"].shape == sharp["face"].shape == (3, 32, 32) and soft["face"].dtype == np.float32
    assert soft["face"].mean((1, 2)) == pytest.approx(sharp["face"].mean((1, 2)), abs=0.05)
    assert soft["face"].std() < 0.5 * sharp["face"].std()


# objective


def objective(cascade: Cascade, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    made = cascade.pictures([torch.randn(4, 5, 20)])
    seen = see(cascade, made, mesh) if options.pop("look", True) else None
    return generator_side(cascade, made[0], seen, torch.tensor([0, 1, 2, 0]), **options)


def test_weights_of_what_makes_a_picture_a_face() -> None:
    cascade, faces = small().eval(), torch.zeros(4, 3, 16, 16)
    plain = objective(cascade)
    weighed = objective(
        cascade, pictures=PicturesConfig(discriminator=0.5, classifier=2, pixels=3), faces=faces
    )
    assert objective(cascade, pictures=PicturesConfig()).keys() == plain.keys()
    assert weighed["G_D_fake"].item() == pytest.approx(0.5 * plain["G_D_fake"].item())
    assert weighed["G_C_fake"].item() == pytest.approx(2 * plain["G_C_fake"].item())
    torch.manual_seed(3)
    made = cascade.pictures([torch.randn(4, 5, 20)])[0]
    assert weighed["G_pixels"].item() == pytest.approx(3 * made.abs().mean().item())
    with pytest.raises(ValueError, match="real pictures"):
        objective(cascade, pictures=PicturesConfig(pixels=1))


def test_before_the_student_joins_only_pictures_count() -> None:
    assert set(objective(small().eval(), look=False)) == {"G_D_fake", "G_C_fake"}


def test_faces_alone_move_classifier_and_face_network() -> None:
    cascade = small().train()
    face_side(cascade, torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0]))["C_real"].backward()
    moved = {name: any(p.grad is not None for p in getattr(cascade, name).parameters()) for name in "efdcg"}
    assert moved == {"e": False, "f": True, "d": False, "c": True, "g": False}


# runs


def test_the_phases_of_a_run(people: People, given: Start, tmp_path: Path) -> None:
    words = ("training.faces_first=1", "training.student_after=2", "training.max_iter=3")
    pictures = ("data.faces=same", "losses.pictures.pixels=5", "losses.distillation.into_generator=false")
    logged = cascade_run(people, given, tmp_path / "run", *words, *pictures, "training.student=expert")
    terms = [set(row) - {"step", "lr", "total_loss"} for row in logged if "total_loss" in row]
    assert "C_real" in terms[0] and not {"D_real", "G_pixels"} & terms[0]
    assert {"D_real", "G_pixels"} <= terms[1] and "Triplet" not in terms[1]
    assert {"G_pixels", "Distill_vertices", "Triplet"} <= terms[2]
    early, late = (
        read_weights(tmp_path / "run" / "checkpoints" / f"step_00000{n}.safetensors").state for n in (2, 3)
    )
    expert = read_weights(given.expert or "").state
    for key, value in expert.items():
        assert torch.equal(early[f"student.{key.removeprefix('expert.')}"], value), "a copy until it joins"
    word = "features.0.0.weight"
    assert not torch.equal(late[f"student.{word}"], expert[f"expert.{word}"])
    assert not torch.equal(early["g.model.0.weight"], late["g.model.0.weight"])


def test_distillation_may_stop_at_the_pictures(people: People, given: Start, tmp_path: Path) -> None:
    """Without any other term the generator then stays as it was."""
    silent = ("losses.pictures.discriminator=0", "losses.pictures.classifier=0", "training.max_iter=2")
    moved = {}
    for word in ("true", "false"):
        run = tmp_path / word
        cascade_run(people, given, run, *silent, f"losses.distillation.into_generator={word}")
        first, last = (
            read_weights(run / "checkpoints" / f"step_00000{n}.safetensors").state["g.model.2.weight"]
            for n in (1, 2)
        )
        moved[word] = not torch.equal(first, last)
    assert moved == {"true": True, "false": False}


def test_a_student_of_other_sizes_is_no_copy(people: People, given: Start, tmp_path: Path) -> None:
    words = ("training.student=expert", "networks.student.stem=8")
    with pytest.raises(ValueError, match="whose sizes the student needs"):
        cascade_run(people, given, tmp_path / "run", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("losses.pictures.pixels=1",), "data.faces=same"),
        (("training.faces_first=2",), "leaves nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of("unsupervised", *words)


def test_the_published_cascade_uses_none_of_these() -> None:
    for name in ("unsupervised", "published_unsupervised"):
        config = load_config(name, PerceptionistConfig, "perceptionist")
        assert config.losses.pictures == PicturesConfig()
        assert config.losses.distillation is not None and config.losses.distillation.into_generator
        plan = config.training
        assert config.data.faces == "any" and plan.student == "random" and plan.face_rate == 1
        assert not plan.faces_first and not plan.student_after
    assert DistillationConfig().into_generator


# sex


def test_the_axis_of_the_sexes_is_nearly_always_right_where_plain_distance_is_not() -> None:
    from perceptionist.face_models.synthetic_head import (
        frontal_of,
        likelier_sex,
        semantic_shape,
        shape_numbers,
    )
    from perceptionist.proportions import shape_errors
    from voiceface.synthetic.face.head import head_model
    from voiceface.synthetic.identities import draw_people

    drawn = draw_people(np.arange(309, 509))
    numbers, male = shape_numbers(drawn), np.asarray(drawn.face_sex) == 1
    meshes, means = frontal_of(head_model(1.0), semantic_shape(numbers)), open_face_model().references
    right, plain = [], []
    for own, head, sex in zip(numbers, meshes, male, strict=True):
        errors = shape_errors(head, means)
        right.append((likelier_sex(own) == "male") == sex)
        plain.append((errors["male"] < errors["female"]) == sex)
    assert np.mean(right) > 0.96 > 0.93 > np.mean(plain)


def test_a_sex_that_is_told_by_another_rule_chooses_the_reference() -> None:
    from perceptionist.proportions import describe

    model = open_face_model()
    mesh = model.references["male"]
    own, told = (describe(mesh, model.references, model.pairs, sex) for sex in (None, "female"))
    assert (own.sex, told.sex) == ("male", "female") and own.errors == told.errors
    assert max(map(abs, own.differences.values())) < 1e-9 < max(map(abs, told.differences.values()))
