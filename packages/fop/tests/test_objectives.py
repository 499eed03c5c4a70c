"""Objectives of the head: values by their definitions, gradients to what they train, messages."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from fop.config import FopConfig
from fop.model import FopModel, build_model_for_checkpoint
from fop.objectives import OBJECTIVES, build_objective
from fop.objectives.angular_margin import add_angular_margin
from fop.objectives.infonce import symmetric_contrast
from fop.objectives.objective import PairFeatures, TrainingFeatures
from pydantic import ValidationError
from torch.nn.functional import cross_entropy, normalize

SYSTEMS = ("seeking_shape", "archetype_agnostic", "cmpc2")
VOICES, FACES, PEOPLE = 12, 14, 6
CLUSTERS = {"cmpc2": {"num_clusters": (3, 5), "start_step": 1, "interval": 1}}


def make_config(objective, **sections):
    model = {"voice_dim": VOICES, "face_dim": FACES, "embedding_dim": 16, "hidden_width": 24}
    return FopConfig(name="test", model=model, loss={"objective": objective, **sections})


def make_parts(objective, **sections):
    """Build model, objective, training features and labels of 24 pairs."""
    if objective in SYSTEMS:
        pytest.importorskip(objective)
    config = make_config(objective, **sections)
    torch.manual_seed(3)
    model = FopModel(config.model, PEOPLE)
    loss = build_objective(config.loss, model, PEOPLE)
    people = torch.arange(24) % PEOPLE
    centres = torch.randn(PEOPLE, VOICES), torch.randn(PEOPLE, FACES)
    training = TrainingFeatures(*(each[people] + 0.3 * torch.randn(24, each.shape[1]) for each in centres))
    loss.start(model, training, 5)
    return model, loss, training, people


def make_batch(loss, training, people):
    """All pairs; with two views the second half of the rows are the same people again."""
    rows = torch.arange(24)
    if loss.views == 2:
        rows = torch.cat([torch.arange(6), torch.arange(6) + 6])
    return people[rows], PairFeatures(training.voices[rows], training.faces[rows], rows)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_lowers_the_loss_and_moves_every_parameter(objective):
    model, loss, training, people = make_parts(objective, **CLUSTERS)
    model.eval()  # without dropout
    labels, features = make_batch(loss, training, people)
    parameters = [*model.parameters(), *loss.parameters()]
    before = [each.detach().clone() for each in parameters]
    optimiser = torch.optim.Adam(parameters, lr=3e-3)
    values = []
    for step in range(30):
        loss.before_step(step)
        terms = loss(model(features.face, features.voice), labels, features)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        values.append(terms["loss"].item())
    assert values[-1] < values[2]
    assert all(torch.isfinite(each).all() for each in parameters)
    assert all((a != b).any() for a, b in zip(before, parameters))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_checkpoint_of_every_head_is_rebuilt_from_its_shapes(objective):
    model, *_ = make_parts(objective, **CLUSTERS)
    config = FopConfig(name="test", loss={"objective": objective})
    rebuilt = build_model_for_checkpoint(config, model.state_dict())
    rebuilt.load_state_dict(model.state_dict())
    voices = torch.randn(5, VOICES)
    assert torch.equal(rebuilt.eval().encode_voices(voices), model.eval().encode_voices(voices))


def test_the_head_follows_from_the_objective_unless_it_is_stated():
    assert make_config("fop").model.fusion == "gated"
    assert make_config("infonce").model.branch == "linear"
    assert make_config("identity_space").model.space == "face"
    stated = FopConfig(name="x", model={"branch": "mlp"}, loss={"objective": "infonce"})
    assert stated.model.branch == "mlp"


@pytest.mark.parametrize(
    ("model", "objective", "message"),
    [
        ({"fusion": "none"}, "fop", "loss.objective=fop needs model.fusion=gated or linear"),
        (
            {"fusion": "gated"},
            "infonce",
            "loss.objective=infonce needs model.fusion=none or auto, found gated",
        ),
        ({"space": "face"}, "xm_align", "belongs to the objective identity_space"),
        ({"space": "face", "branch": "relu"}, "identity_space", "model.branch=mlp or linear"),
    ],
)
def test_heads_that_do_not_fit_are_refused(model, objective, message):
    with pytest.raises(ValidationError, match=message):
        FopConfig(name="x", model=model, loss={"objective": objective})


def test_the_angular_margin_is_added_to_the_own_angle_alone():
    angles = torch.tensor([[0.3, 1.0], [2.0, 0.5], [3.05, 0.1]])
    labels = torch.tensor([0, 1, 0])
    moved = add_angular_margin(angles.cos(), labels, 0.2)
    assert moved[0, 0].item() == pytest.approx(np.cos(0.5), abs=1e-5)
    assert moved[1, 1].item() == pytest.approx(np.cos(0.7), abs=1e-5)
    assert moved[0, 1] == angles.cos()[0, 1] and moved[1, 0] == angles.cos()[1, 0]
    assert moved[2, 0] < -1  # beyond pi a larger angle stays worse
    steps = torch.linspace(0.01, 3.13, 200)[:, None]
    own = add_angular_margin(steps.cos(), torch.zeros(200, dtype=torch.long), 0.4)[:, 0]
    assert (own.diff() < 0).all()


def test_the_adaptive_margin_is_small_where_the_own_class_is_far():
    model, loss, training, people = make_parts("angular_margin", angular_margin={"margin": 0.5})
    output = model.eval()(training.faces, training.voices)
    features = PairFeatures(training.voices, training.faces, torch.arange(24))
    value = loss(output, people, features)["loss"]
    expected = torch.zeros(())
    for embeddings in (output.face, output.voice):
        cosines = normalize(embeddings, dim=1) @ normalize(loss.class_vectors, dim=1).T
        for row, label in enumerate(people):
            own = cosines[row, label]
            logits = cosines[row].clone()
            logits[label] = torch.cos(torch.acos(own) + 0.5 * (1 + own) / 2)
            expected = expected + cross_entropy(16 * logits[None], label[None]) / 24
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_contrast_leaves_other_rows_of_the_same_person_out():
    torch.manual_seed(0)
    voice, face = torch.randn(5, 4), torch.randn(5, 4)
    labels = torch.tensor([0, 1, 0, 2, 3])
    scores = (10 * normalize(voice, dim=1) @ normalize(face, dim=1).T).double().numpy()
    total = 0.0
    for table in (scores, scores.T):
        for i in range(5):
            kept = [j for j in range(5) if j == i or labels[j] != labels[i]]
            total += (np.log(np.exp(table[i, kept]).sum()) - table[i, i]) / 10
    assert symmetric_contrast(voice, face, labels, 10.0).item() == pytest.approx(total, rel=1e-5)


def test_shared_classifier_and_alignment_follow_their_definition():
    model, loss, training, people = make_parts("xm_align", xm_align={"alignment_weight": 2.0})
    output = model.eval()(training.faces, training.voices)
    terms = loss(output, people, PairFeatures(training.voices, training.faces, torch.arange(24)))
    distance = ((output.face - output.voice) ** 2).mean()
    entropies = [cross_entropy(loss.classifier(each), people) for each in (output.face, output.voice)]
    torch.testing.assert_close(terms["loss"], sum(entropies) + 2 * distance)


def test_identity_space_has_no_regression_error_where_the_voice_says_the_face():
    model, loss, training, people = make_parts("identity_space")
    features = PairFeatures(training.voices, training.faces, torch.arange(24))
    output = model.eval()(training.faces, training.voices)
    torch.testing.assert_close(output.face, training.faces - training.faces.mean(0))
    exact = output._replace(voice=output.face)
    assert loss(exact, people, features)["regression"] == 0
    mean_face = output._replace(voice=torch.zeros_like(output.face))
    assert loss(mean_face, people, features)["regression"].item() == pytest.approx(1, rel=1e-5)
    predicted = model.predict_faces(training.voices)
    torch.testing.assert_close(predicted, output.voice + training.faces.mean(0))


def test_seeking_shape_is_the_loss_of_that_package():
    model, loss, training, people = make_parts("seeking_shape", seeking_shape={"reweighting": False})
    losses = import_module("seeking_shape.losses")
    output = model.eval()(training.faces, training.voices)
    face, voice = 16 * output.face, 16 * output.voice
    logits = face @ loss.class_vectors.T, voice @ loss.class_vectors.T
    expected = losses.apply_identity_weights(losses.compute_sample_losses(face, voice, *logits, people))
    terms = loss(output, people, PairFeatures(training.voices, training.faces, torch.arange(24)))
    torch.testing.assert_close(terms["loss"], sum(expected.values()))


def test_archetype_agnostic_compares_two_views_of_each_person():
    model, loss, training, people = make_parts("archetype_agnostic")
    losses = import_module("archetype_agnostic.losses")
    labels, features = make_batch(loss, training, people)
    output = model.eval()(features.face, features.voice)
    face, voice = 8 * output.face, 8 * output.voice
    similarities = losses.compute_similarities(face[:6], voice[:6], face[6:], voice[6:], labels[:6])
    terms = loss(output, labels, features)
    torch.testing.assert_close(
        terms["loss"], sum(losses.mean_terms(losses.aasm_losses(similarities)).values())
    )
    assert loss.equilibrium.compare_sum.sum() == 6 * 5


def test_cmpc2_resumes_with_its_memory_banks():
    model, loss, training, people = make_parts("cmpc2", **CLUSTERS)
    labels, features = make_batch(loss, training, people)
    output = model.eval()(features.face, features.voice)
    for step in range(3):
        loss.before_step(step)
        loss(output, labels, features)
    _, resumed, *_ = make_parts("cmpc2", **CLUSTERS)
    resumed.load_state_dict(loss.state_dict())
    for each in (loss, resumed):
        each.before_step(3)
    assert loss(output, labels, features)["loss"] == resumed(output, labels, features)["loss"]


def test_more_clusters_than_voices_are_refused():
    with pytest.raises(ValueError, match=r"loss\.cmpc2\.num_clusters: 96 clusters of 24 voices"):
        make_parts("cmpc2")


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_absent_package_is_named_with_the_way_to_install_it(system, monkeypatch):
    for name in [each for each in sys.modules if each.split(".")[0] == system]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(system), *sys.meta_path])
    model = FopModel(make_config("infonce").model, PEOPLE)
    with pytest.raises(ValueError, match=f"pip install ./packages/{system}"):
        build_objective(make_config(system).loss, model, PEOPLE)


class Hidden:
    """Finder that finds one package missing."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)
        return None
