"""Additions that a small cascade needs, each an option next to the published behaviour."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from perceptionist.cascade import (
    Cascade,
    compute_classifier_losses,
    compute_generator_losses,
    run_expert_and_student,
)
from perceptionist.config import PerceptionistConfig, SpeakerLossConfig
from perceptionist.dataset.open import load_dataset
from perceptionist.dataset.records import FaceImages, Utterances, VoiceFaceDataset
from perceptionist.face_models.io import resolve_face_model
from perceptionist.models import SpeakerClassifier, load_checkpoint, load_voice_network
from perceptionist.network_config import DistillationConfig, GeneratorLossConfig, VoiceNetworkConfig
from perceptionist.sampling import FaceDataset, ImageRegressionDataset, TripletDataset
from perceptionist.train import train
from perceptionist.training_stages.speaker import speaker_terms
from perceptionist.training_stages.stage import InitialWeights
from test_perceptionist_cascade import mesh, small
from tiny_perceptionist_runs import TINY_SIZES, tiny_config
from torch.nn import functional as F
from voiceface.runtime.config import ConfigError, load_config


@pytest.fixture(scope="module")
def given(train_dataset: VoiceFaceDataset, tmp_path_factory: pytest.TempPathFactory) -> InitialWeights:
    """An expert and a voice network, one step each."""
    folder = tmp_path_factory.mktemp("given")
    for kind in ("expert", "speaker"):
        train(tiny_config(kind, "training.max_steps=1"), train_dataset, folder / kind, threads=1)
    return InitialWeights(folder / "expert", folder / "speaker")


def cascade_run(
    train_dataset: VoiceFaceDataset, given: InitialWeights, out: Path, *words: str
) -> list[dict[str, Any]]:
    """Terms of every step of a run without validation."""
    config = tiny_config("unsupervised", "training.validation_interval=null", *words)
    train(config, train_dataset, out, initial_weights=given, threads=1)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# the voice network


def test_speaker_training_saves_the_voice_network_without_its_classifier(given: InitialWeights) -> None:
    assert given.voice_network is not None
    state = load_checkpoint(given.voice_network).state
    assert state and all(key.startswith("e.") for key in state)
    assert load_voice_network(given.voice_network).config.embedding_dim == 16


def test_cosine_logits_ignore_weight_norms_and_linear_logits_do_not() -> None:
    torch.manual_seed(0)
    model = SpeakerClassifier(VoiceNetworkConfig(n_mels=5, channels=(6,), embedding_dim=4), 3).eval()
    voices, labels = torch.randn(6, 5, 20), torch.arange(6) % 3
    cosines, plain = SpeakerLossConfig(logit_scale=8.0), SpeakerLossConfig()
    before = [speaker_terms(model, voices, labels, how)["speaker"] for how in (cosines, plain)]
    directions = F.normalize(model.c.model.weight)
    by_hand = 8 * F.normalize(model.e(voices)) @ directions.T
    assert before[0].item() == pytest.approx(torch.nn.functional.cross_entropy(by_hand, labels).item())
    with torch.no_grad():
        model.c.model.weight *= 3
    after = [speaker_terms(model, voices, labels, how)["speaker"] for how in (cosines, plain)]
    assert after[0].item() == pytest.approx(before[0].item()) and abs(after[1] - before[1]) > 1e-4


# data


def test_a_population_without_recordings_trains_an_expert(tmp_path: Path) -> None:
    from voiceface.synthetic.writer import write_population

    few = TINY_SIZES | {"train": 3, "val": 1, "test": 1, "clips": 0}
    root = write_population(tmp_path / "p", "tiny", workers=1, lists=False, progress=False, **few)
    read = load_dataset(root, "train", resolve_face_model(), with_utterances=False)
    assert len(read.images) == 6 and not len(read.utterances)
    with pytest.raises(FileNotFoundError, match="no recordings"):
        load_dataset(root, "train", resolve_face_model())


def test_images_of_the_same_identity() -> None:
    labels = np.repeat(np.arange(3), 2)
    voices = Utterances(labels, [np.zeros((1000, 64), np.float32)] * 6)
    shades = FaceImages(np.array([2, 1, 0, 1]), [np.full((4, 4, 3), 10 * i, np.uint8) for i in range(4)])
    triplets = TripletDataset(
        voices, 800, anchors_only=True, faces=FaceDataset(shades, 4, flip_probability=0)
    )
    visible: dict[int, set[int]] = {}
    for seed in range(40):
        for index in range(6):
            sampled = triplets.sample(index, np.random.default_rng(seed))
            visible.setdefault(sampled["label"], set()).add(
                round(float(sampled["face"].mean() * 127.5 + 127.5))
            )
    assert visible == {0: {20}, 1: {10, 30}, 2: {0}}
    with pytest.raises(ValueError, match="1 identities with utterances have no image"):
        TripletDataset(
            voices,
            800,
            anchors_only=True,
            faces=FaceDataset(FaceImages(np.array([0, 1]), shades.items[:2]), 4),
        )


def test_blur_keeps_the_mean_and_reduces_the_contrast() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (32, 32, 3), np.uint8)
    one = FaceImages(np.zeros(1, np.int64), [image])
    sharp, soft = (
        ImageRegressionDataset(one, np.zeros((1, 62), np.float32), 32, max_blur_sigma=blur).sample(
            0, np.random.default_rng(1)
        )
        for blur in (0.0, 3.0)
    )
    assert soft["face"].shape == sharp["face"].shape == (3, 32, 32) and soft["face"].dtype == np.float32
    assert soft["face"].mean((1, 2)) == pytest.approx(sharp["face"].mean((1, 2)), abs=0.05)
    assert soft["face"].std() < 0.5 * sharp["face"].std()


# objective


def objective(cascade: Cascade, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    generated = cascade.generate_images([torch.randn(4, 5, 20)])
    visible = run_expert_and_student(cascade, generated, mesh) if options.pop("look", True) else None
    return compute_generator_losses(cascade, generated[0], visible, torch.tensor([0, 1, 2, 0]), **options)


def test_weights_of_the_generator_terms() -> None:
    cascade, faces = small().eval(), torch.zeros(4, 3, 16, 16)
    plain = objective(cascade)
    weighed = objective(
        cascade,
        generator_loss=GeneratorLossConfig(adversarial_weight=0.5, identity_weight=2, pixel_weight=3),
        faces=faces,
    )
    assert objective(cascade, generator_loss=GeneratorLossConfig()).keys() == plain.keys()
    assert weighed["G_D_fake"].item() == pytest.approx(0.5 * plain["G_D_fake"].item())
    assert weighed["G_C_fake"].item() == pytest.approx(2 * plain["G_C_fake"].item())
    torch.manual_seed(3)
    generated = cascade.generate_images([torch.randn(4, 5, 20)])[0]
    assert weighed["G_pixels"].item() == pytest.approx(3 * generated.abs().mean().item())
    with pytest.raises(ValueError, match="real images"):
        objective(cascade, generator_loss=GeneratorLossConfig(pixel_weight=1))


def test_without_the_student_only_generator_terms_are_computed() -> None:
    assert set(objective(small().eval(), look=False)) == {"G_D_fake", "G_C_fake"}


def test_face_pretraining_has_gradients_in_classifier_and_face_network_only() -> None:
    cascade = small().train()
    compute_classifier_losses(cascade, torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0]))[
        "C_real"
    ].backward()
    with_gradients = {
        name: any(p.grad is not None for p in getattr(cascade, name).parameters()) for name in "efdcg"
    }
    assert with_gradients == {"e": False, "f": True, "d": False, "c": True, "g": False}


# runs


def test_the_phases_of_a_run(train_dataset: VoiceFaceDataset, given: InitialWeights, tmp_path: Path) -> None:
    words = ("training.face_pretraining_steps=1", "training.student_start_step=2", "training.max_steps=3")
    images = (
        "data.face_sampling=same_identity",
        "losses.generator.pixel_weight=5",
        "losses.distillation.update_generator=false",
    )
    logged = cascade_run(
        train_dataset, given, tmp_path / "run", *words, *images, "training.student_init=expert"
    )
    terms = [set(row) - {"step", "lr", "total_loss"} for row in logged if "total_loss" in row]
    assert "C_real" in terms[0] and not {"D_real", "G_pixels"} & terms[0]
    assert {"D_real", "G_pixels"} <= terms[1] and "Triplet" not in terms[1]
    assert {"G_pixels", "Distill_vertices", "Triplet"} <= terms[2]
    early, late = (
        load_checkpoint(tmp_path / "run" / "checkpoints" / f"step_00000{n}.safetensors").state for n in (2, 3)
    )
    expert = load_checkpoint(given.expert or "").state
    for key, value in expert.items():
        assert torch.equal(early[f"student.{key.removeprefix('expert.')}"], value), "a copy until it joins"
    word = "features.0.0.weight"
    assert not torch.equal(late[f"student.{word}"], expert[f"expert.{word}"])
    assert not torch.equal(early["g.model.0.weight"], late["g.model.0.weight"])


def test_distillation_need_not_update_the_generator(
    train_dataset: VoiceFaceDataset, given: InitialWeights, tmp_path: Path
) -> None:
    """Without any other term the generator then stays as it was."""
    silent = (
        "losses.generator.adversarial_weight=0",
        "losses.generator.identity_weight=0",
        "training.max_steps=2",
    )
    updated = {}
    for word in ("true", "false"):
        run = tmp_path / word
        cascade_run(train_dataset, given, run, *silent, f"losses.distillation.update_generator={word}")
        first, last = (
            load_checkpoint(run / "checkpoints" / f"step_00000{n}.safetensors").state["g.model.2.weight"]
            for n in (1, 2)
        )
        updated[word] = not torch.equal(first, last)
    assert updated == {"true": True, "false": False}


def test_a_student_of_other_sizes_cannot_copy_the_expert(
    train_dataset: VoiceFaceDataset, given: InitialWeights, tmp_path: Path
) -> None:
    words = ("training.student_init=expert", "networks.student.stem=8")
    with pytest.raises(ValueError, match="their sizes differ"):
        cascade_run(train_dataset, given, tmp_path / "run", *words)


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("losses.generator.pixel_weight=1",), "data.face_sampling=same_identity"),
        (("training.face_pretraining_steps=2",), "must be less than"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(words: tuple[str, ...], output: str) -> None:
    with pytest.raises(ConfigError, match=output):
        tiny_config("unsupervised", *words)


def test_the_published_cascade_uses_none_of_the_additions() -> None:
    for name in ("unsupervised", "published_unsupervised"):
        config = load_config(name, PerceptionistConfig, "perceptionist")
        assert config.losses.generator == GeneratorLossConfig()
        assert config.losses.distillation is not None and config.losses.distillation.update_generator
        plan = config.training
        assert (
            config.data.face_sampling == "independent"
            and plan.student_init == "random"
            and plan.discriminator_lr_factor == 1
        )
        assert not plan.face_pretraining_steps and not plan.student_start_step
    assert DistillationConfig().update_generator


# gender


def test_the_fisher_direction_classifies_gender_better_than_vertex_distance() -> None:
    from perceptionist.face_models.synthetic_head import (
        classify_gender,
        frontal_vertices,
        orthonormal_shape,
        semantic_coefficients,
    )
    from perceptionist.proportions import shape_errors
    from voiceface.synthetic.head.model import build_head_model
    from voiceface.synthetic.identities import sample_identities

    sampled = sample_identities(np.arange(309, 509))
    numbers, male = orthonormal_shape(sampled), np.asarray(sampled.face_sex) == 1
    meshes, means = (
        frontal_vertices(build_head_model(), semantic_coefficients(numbers)),
        resolve_face_model().references,
    )
    right, plain = [], []
    for own, head, sex in zip(numbers, meshes, male, strict=True):
        errors = shape_errors(head, means)
        right.append((classify_gender(own) == "male") == sex)
        plain.append((errors["male"] < errors["female"]) == sex)
    assert np.mean(right) > 0.96 > 0.95 > np.mean(plain)


def test_a_given_gender_selects_the_reference() -> None:
    from perceptionist.proportions import describe_face

    model = resolve_face_model()
    mesh = model.references["male"]
    own, reported = (describe_face(mesh, model.references, model.pairs, sex) for sex in (None, "female"))
    assert (own.gender, reported.gender) == ("male", "female") and own.errors == reported.errors
    assert max(map(abs, own.differences.values())) < 1e-9 < max(map(abs, reported.differences.values()))
