"""Training by its command: what happens when, what is stored, and what options change."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm
from archetype_agnostic.train import ArchetypeAgnosticTrainer, build_model, train_step
from voiceface.association.data import load_split, load_validation, sample_crop
from voiceface.association.initialisation import InitialWeights
from voiceface.association.validation import validate
from voiceface.checkpoints.native import load_model
from voiceface.runtime.config import load_config, to_dict
from voiceface.testing.corrupt_files import assert_mentions
from voiceface.training.run import Run

Call = Callable[..., int]
AASM = {"sim_loss", "crosssp_loss"}
TRIPS = {"trip_cross", "trip_intra_v", "trip_intra_a"}


def lines(run: Path, name: str = "step") -> list[dict[str, Any]]:
    """Lines of the log that hold a figure."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if name in row]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "model.safetensors", system="archetype_agnostic", kind="model").state


def config_of(tiny_overrides: tuple[str, ...], *words: str, cfg: str = "main") -> ArchetypeAgnosticConfig:
    return load_config(cfg, ArchetypeAgnosticConfig, "archetype_agnostic", [*tiny_overrides, *words])


def batch(num_identities: int = 10, size: int = 8) -> dict[str, torch.Tensor]:
    """Random images and waveforms of distinct identities."""
    draw = torch.Generator().manual_seed(3)
    return {
        "face": torch.rand(size, 3, 32, 32, generator=draw) * 255,
        "face_second": torch.rand(size, 3, 32, 32, generator=draw) * 255,
        "voice": torch.randn(size, 16_000, generator=draw) * 1000,
        "voice_second": torch.randn(size, 16_000, generator=draw) * 1000,
        "label": torch.randperm(num_identities, generator=draw)[:size],
    }


Step = Callable[..., tuple[dict[str, float], dict[str, torch.Tensor], Aasm]]


@pytest.fixture
def step(tiny_overrides: tuple[str, ...], tmp_path: Path) -> Iterator[Step]:
    """One step on a fixed batch and a fixed model: its figures, its gradients and the model."""
    number = iter(range(100))

    def run_step(
        *words: str, at: int = 5, weight: torch.Tensor | None = None
    ) -> tuple[dict[str, float], dict[str, torch.Tensor], Aasm]:
        config = config_of(tiny_overrides, *words)
        folder = tmp_path / str(next(number))
        plain, precision = to_dict(config), config.training.precision
        with Run(folder, seed=1, config=plain, system="s", device="cpu", precision=precision) as run:
            network = build_model(config, [str(i) for i in range(10)], InitialWeights())
            run.prepare(network)
            if weight is not None:
                network.eqm.weight.copy_(weight)
            optimiser = torch.optim.SGD(network.parameters(), lr=0.0)
            terms = train_step(config, run, network, batch(), optimiser, at)
            metrics = {name: float(torch.as_tensor(value).detach()) for name, value in terms.items()}
            result = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
            return metrics, result, network

    yield run_step


# a run


def test_order_is_validation_refresh_step(trained: Path) -> None:
    loss, fresh, validated = "total_loss", "weight_max", "val/matching_accuracy"
    kinds = [
        (row["step"], next(name for name in (validated, fresh, loss) if name in row))
        for row in lines(trained)
    ]
    assert kinds == [
        (0, loss), (1, loss), (2, fresh), (2, loss), (3, validated), (3, loss), (4, fresh), (4, loss),
        (5, loss), (6, validated),
    ]  # fmt: skip
    best = load_model(trained / "checkpoints" / "best.safetensors").extra["step"]
    accuracies = {row["step"]: row[validated] for row in lines(trained, validated)}
    assert best == max(accuracies, key=lambda number: (accuracies[number], -number))


def test_all_terms_are_logged_from_the_start_of_regauging(trained: Path) -> None:
    for row in lines(trained, "total_loss"):
        terms = AASM | (TRIPS if row["step"] >= 2 else set())
        assert set(row) >= terms | {"negative_hit_rate", "lr"}
        assert not (set(row) & TRIPS) - terms
        assert row["total_loss"] == pytest.approx(sum(row[name] for name in terms), rel=1e-6)
        assert 0 <= row["negative_hit_rate"] <= 1


def test_counters_count_from_the_last_refresh(trained: Path) -> None:
    early = load_model(trained / "checkpoints" / "step_000002.safetensors").state
    assert early["eqm.compare_sum"].sum() == 2 * 8 * 7 and (early["eqm.weight"] == 1).all()
    late = weights_of(trained)  # refreshed before step 4: steps 4 and 5 are counted
    assert late["eqm.compare_sum"].sum() == 2 * 8 * 7
    assert (late["eqm.corr_num"] <= late["eqm.compare_sum"]).all() and late["eqm.corr_num"].any()
    last = lines(trained, "weight_max")[-1]
    assert late["eqm.weight"].max().item() == pytest.approx(last["weight_max"])
    assert late["eqm.weight"].mean().item() == pytest.approx(last["weight_mean"])
    assert late["eqm.weight"].min() < late["eqm.weight"].max()


def test_logged_hit_rate_is_that_of_the_counters(trained: Path) -> None:
    late, rows = weights_of(trained), lines(trained, "negative_hit_rate")[-2:]
    share = float(late["eqm.corr_num"].sum() / late["eqm.compare_sum"].sum())
    assert share == pytest.approx(sum(row["negative_hit_rate"] for row in rows) / 2)


def test_last_validation_is_of_the_final_weights(
    trained: Path, population: Path, tiny_overrides: tuple[str, ...], tmp_path: Path
) -> None:
    config = config_of(tiny_overrides)
    names = load_model(trained / "model.safetensors").extra["names"]
    model = build_model(config, names, InitialWeights(checkpoint=trained / "model.safetensors"))
    with Run(tmp_path / "run", seed=1, config={}, system="s", device="cpu") as run:
        again = validate(run, 6, model, config, load_validation(population, config))
    assert again == lines(trained, "val/matching_accuracy")[-1]["val/matching_accuracy"]
    assert model.training and model.vNet.model.training and model.aNet.fc[0].training


def test_initial_checkpoint_gives_networks_but_no_identity_weights(
    trained: Path, tiny_overrides: tuple[str, ...]
) -> None:
    before = weights_of(trained)
    names = [str(i) for i in range(7)]  # other identities
    after = build_model(
        config_of(tiny_overrides), names, InitialWeights(checkpoint=trained / "model.safetensors")
    ).state_dict()
    assert (after["eqm.weight"] == 1).all() and not after["eqm.compare_sum"].any()
    assert all(torch.equal(after[key], before[key]) for key in after if not key.startswith("eqm."))


# options that change one step


def test_regauging_terms_start_at_their_step(step: Step) -> None:
    before, _, _ = step("regauging.start_step=6", at=5)
    from_then_on, _, _ = step("regauging.start_step=6", at=6)
    never, _, _ = step("regauging.enabled=false", at=5)
    assert set(before) == set(never) == AASM | {"total_loss", "negative_hit_rate"}
    assert set(from_then_on) == set(before) | TRIPS
    assert never == before


def loose(*words: str) -> tuple[str, ...]:
    """Settings that make pairs of a fresh network loose."""
    return "regauging.trust_threshold=-1.0", "regauging.margin=0.5", *words


def test_regauging_trains_by_default_but_not_as_published(step: Step) -> None:
    plain, bare, _ = step("regauging.enabled=false")
    meant, drawn, _ = step(*loose())
    published, same, _ = step(*loose("regauging.differentiable=false"))
    assert all(meant[name] > 0 for name in TRIPS)
    assert published == meant and meant["crosssp_loss"] == plain["crosssp_loss"]
    assert all(torch.equal(same[name], gradient) for name, gradient in bare.items())
    for branch in ("vNet.fc.2.weight", "aNet.fc.2.weight", "vNet.model.input_layer.0.weight"):
        assert not torch.allclose(drawn[branch], bare[branch], rtol=1e-2), branch


def test_identity_weights_act_on_the_regauging_only(step: Step) -> None:
    weight = torch.linspace(0.1, 4, 10)
    even, _, _ = step(*loose())
    meant, _, _ = step(*loose(), weight=weight)
    published, _, _ = step(*loose("regauging.weighting=outer_product"), weight=weight)
    off, _, _ = step(*loose("equilibrium.enabled=false"), weight=weight)
    assert all(meant[name] == even[name] for name in AASM | {"negative_hit_rate"})
    assert all(meant[name] != even[name] for name in TRIPS)
    mean = float(weight[batch()["label"]].mean())
    assert all(published[name] == pytest.approx(even[name] * mean, rel=1e-5) for name in TRIPS)
    assert {name: off[name] for name in TRIPS} == {name: even[name] for name in TRIPS}


def test_regauging_options_change_their_own_terms(step: Step) -> None:
    plain, _, _ = step(*loose())
    for word in (
        "regauging.form=circle",
        "regauging.inner_margin=0.4",
        "regauging.scale=5.0",
        "regauging.margin=0.6",
    ):
        changed, _, _ = step(*loose(word))
        assert all(changed[name] == plain[name] for name in AASM), word
        assert all(changed[name] != plain[name] for name in TRIPS), word
        if "scale" in word:
            assert all(changed[name] == pytest.approx(plain[name] / 2) for name in TRIPS)


def test_loss_options_change_their_own_term(step: Step) -> None:
    plain, _, _ = step()
    cross, _, _ = step("loss.cross_constant=8.0")
    intra, _, _ = step("loss.intra_constant=8.0")
    assert cross["crosssp_loss"] > plain["crosssp_loss"] and cross["sim_loss"] == plain["sim_loss"]
    assert intra["sim_loss"] > plain["sim_loss"] and intra["crosssp_loss"] == plain["crosssp_loss"]
    warm, _, _ = step("loss.temperature=2.0")
    assert warm["sim_loss"] != plain["sim_loss"] and warm["crosssp_loss"] != plain["crosssp_loss"]


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        ((), 56),
        (("equilibrium.hit_counting=never",), 0),
        (("equilibrium.enabled=false",), 0),
        (
            (
                "equilibrium.hit_counting=last_window",
                "equilibrium.warm_up=30",
                "equilibrium.update_interval=10",
            ),
            0,
        ),
        (
            (
                "equilibrium.hit_counting=last_window",
                "equilibrium.warm_up=10",
                "equilibrium.update_interval=10",
            ),
            56,
        ),
    ],
)
def test_counting_is_as_configured(step: Step, words: tuple[str, ...], counted: int) -> None:
    _, _, model = step(*words)
    assert float(model.eqm.compare_sum.sum()) == counted
    assert set(model.eqm.compare_sum.nonzero().flatten().tolist()) <= set(batch()["label"].tolist())


def test_both_clips_have_crops_of_their_own(tiny_overrides: tuple[str, ...], step: Step) -> None:
    data = config_of(tiny_overrides).data
    assert sample_crop(data, 1, 5, 0) != sample_crop(data, 1, 5, 1)
    lengths: list[int] = []
    config = config_of(tiny_overrides)
    model = build_model(config, [str(i) for i in range(10)], InitialWeights())
    model.aNet.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))

    class Here:
        """As much of a run as a step needs."""

        seed = 1

        def autocast(self) -> Any:
            return torch.no_grad()

        def backward_and_step(self, *_: Any, **__: Any) -> None: ...

    train_step(config, Here(), model, batch(), None, 5)  # type: ignore[arg-type]
    expected = [end - first for first, end in (sample_crop(data, 1, 5, which) for which in (0, 1))]
    assert lengths == expected


def test_mixed_precision_gives_losses_in_single(step: Step) -> None:
    single, _, _ = step(*loose())
    mixed, gradients, _ = step(*loose("training.precision=bfloat16"))
    assert mixed["total_loss"] == pytest.approx(single["total_loss"], rel=0.05)
    assert mixed["total_loss"] != single["total_loss"]
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


# options that change a run


@pytest.mark.parametrize("branch", ["face", "voice"])
def test_frozen_branch_keeps_every_bit(train: Call, trained: Path, tmp_path: Path, branch: str) -> None:
    before = weights_of(trained)
    start = ["--checkpoint", trained / "model.safetensors"]
    assert train(tmp_path / "run", *start, "training.max_steps=2", f"training.freeze=[{branch}]") == 0
    after = weights_of(tmp_path / "run")
    frozen, free = ("vNet.", "aNet.") if branch == "face" else ("aNet.", "vNet.")
    assert all(torch.equal(after[key], before[key]) for key in before if key.startswith(frozen))
    assert any(not torch.equal(after[key], before[key]) for key in before if key.startswith(free))


def test_freezing_both_branches_is_refused(train: Call, tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path / "run", "training.max_steps=1", "training.freeze=[face,voice]") == 1
    message = capsys.readouterr().err
    assert "training.freeze" in message and "Traceback" not in message
    assert not (tmp_path / "run").exists()


def test_published_variant_learns_from_the_contrast_alone(train: Call, tmp_path: Path) -> None:
    plain = ["training.max_steps=4", "stopping.rule=max_steps"]
    assert train(tmp_path / "published", *plain, cfg="published") == 0
    words = [*plain, "regauging.enabled=false"]
    assert train(tmp_path / "contrast", *words, cfg="published") == 0
    rows = lines(tmp_path / "published", "total_loss")
    assert [set(row) >= TRIPS for row in rows] == [False, False, True, True]
    computed, reference = weights_of(tmp_path / "published"), weights_of(tmp_path / "contrast")
    assert all(torch.equal(computed[key], value) for key, value in reference.items())
    assert (computed["eqm.weight"] == 1).all()


def until(train: Call, out: Path, *words: str) -> list[int]:
    """Steps of a run that goes on by patience: one step an epoch unless told otherwise."""
    often = ["training.validation_interval=2", "training.validation_start=2", "stopping.rule=patience"]
    assert train(out, *often, *words) == 0
    return [row["step"] for row in lines(out, "total_loss")]


def judged(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Validations give these accuracies, one after the other."""
    given = iter(accuracies)
    monkeypatch.setattr(ArchetypeAgnosticTrainer, "validate", lambda *_: next(given))


def test_early_stopping_ends_a_run_whose_accuracy_no_longer_rises(
    train: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, 0.4, 0.6, 0.5, 0.5, 0.4)  # before steps 2, 4, 6, 8, 10
    steps = until(
        train,
        tmp_path / "run",
        "training.max_steps=5",
        "stopping.patience=3",
        "training.checkpoint_interval=50",
    )
    assert steps == list(range(9))  # 0.6, 0.5, 0.5 are known before step 8, which is an epoch
    assert load_model(tmp_path / "run" / "model.safetensors").extra["step"] == 9
    saved = sorted(path.stem for path in (tmp_path / "run" / "checkpoints").glob("step_*"))
    assert saved == ["step_000001", "step_000005", "step_000009"]


def test_early_stopping_finishes_the_epoch_and_waits_for_max_steps(
    train: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, *[0.5] * 9)
    words = ["training.max_steps=5", "stopping.patience=2", "training.batch_size=2"]  # five steps an epoch
    assert until(train, tmp_path / "run", *words) == list(range(10))  # judged before step 6


def test_early_stopping_without_validation_is_refused(train: Call, tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path / "run", "stopping.rule=patience") == 1
    message = capsys.readouterr().err
    assert "training.validation_interval=null" in message and "stopping.rule=max_steps" in message


@pytest.mark.parametrize(
    "word",
    ["data.rotation=published", "data.second_sample=with_replacement", "data.pair_augmentation=independent"],
)
def test_data_options_change_the_run(train: Call, trained: Path, tmp_path: Path, word: str) -> None:
    assert train(tmp_path / "run", "training.max_steps=1", word) == 0
    computed, plain = lines(tmp_path / "run", "total_loss")[0], lines(trained, "total_loss")[0]
    assert computed["sim_loss"] != plain["sim_loss"]


def test_learning_rates_follow_the_milestones(train: Call, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "training.max_steps=4", "schedule.milestones=[0,2]") == 0
    rates = [row["lr"] for row in lines(tmp_path / "run", "lr")]
    assert rates == pytest.approx([0.01, 0.001, 0.001, 0.0001])  # lowered after steps 0 and 2


# unusual data


def test_identity_with_one_file_of_each_modality_is_sampled_with_replacement(
    corpus_copy: Path, utterance: Path, image: Path, train_succeeds: Callable[..., None]
) -> None:
    """The published code never ends there; the contract covers data.second_sample=distinct."""
    for path in [*utterance.parents[1].rglob("*.wav"), *image.parent.iterdir()]:
        if path not in (utterance, image):
            path.unlink()
    records = load_split(corpus_copy, "train").records
    assert min((len(record.voices), len(record.faces)) for record in records) == (1, 1)
    train_succeeds("data.second_sample=with_replacement", "training.batch_size=10")


def test_native_scale_accepts_stereo_and_8_bit_utterances(
    utterance: Path, train_succeeds: Callable[..., None]
) -> None:
    tone = 0.3 * np.sin(np.arange(16_000) / 9)
    soundfile.write(utterance, np.stack([tone, tone], axis=1), 16_000)
    other = next(path for path in utterance.parents[1].rglob("*.wav") if path != utterance)
    soundfile.write(other, tone, 16_000, subtype="PCM_U8")
    train_succeeds("data.sample_scale=native")


def test_number_of_classes_must_be_that_of_the_data(training_error: Callable[..., str]) -> None:
    assert_mentions(training_error("model.num_classes=9"), "model.num_classes is 9", "10 training identities")
