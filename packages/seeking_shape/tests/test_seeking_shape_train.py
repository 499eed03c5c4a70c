"""Training by its command: three steps of the method, what they store, and what options change."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from seeking_shape.config import SeekingShapeConfig
from seeking_shape.train import InitialWeights, build_model, train_step
from voiceface.association.data import load_split, load_validation
from voiceface.association.validation import validate
from voiceface.checkpoints.native import load_model, save_model
from voiceface.runtime.config import load_config, to_dict
from voiceface.training.run import Run

Call = Callable[..., int]


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    """Lines of the log that hold a figure."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if name in row]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "model.safetensors", system="seeking_shape", kind="model").state


def config_of(tiny_overrides: tuple[str, ...], *words: str, cfg: str = "reweight") -> SeekingShapeConfig:
    return load_config(cfg, SeekingShapeConfig, "seeking_shape", [*tiny_overrides, *words])


def batch(num_identities: int = 10, size: int = 8) -> dict[str, torch.Tensor]:
    """Random images and waveforms of distinct identities."""
    draw = torch.Generator().manual_seed(3)
    return {
        "face": torch.rand(size, 3, 32, 32, generator=draw) * 255,
        "voice": torch.randn(size, 16_000, generator=draw) * 1000,
        "label": torch.randperm(num_identities, generator=draw)[:size],
    }


@pytest.fixture
def step(tiny_overrides: tuple[str, ...], tmp_path: Path) -> Iterator[Callable[..., dict[str, float]]]:
    """Figures of one step on a fixed batch and a fixed model, with given identity weights."""
    number = iter(range(100))

    def run_step(*words: str, weight: torch.Tensor | None = None) -> dict[str, float]:
        config = config_of(tiny_overrides, *words)
        with Run(
            tmp_path / str(next(number)), seed=1, config=to_dict(config), system="s", device="cpu"
        ) as run:
            network = run.prepare(build_model(config, [str(i) for i in range(10)], InitialWeights()))
            if weight is not None:
                network.center.weight.copy_(weight)
            optimiser = torch.optim.SGD(network.parameters(), lr=0.0)
            terms = train_step(config, run, network, batch(), optimiser, 0)
            return {name: float(torch.as_tensor(value).detach()) for name, value in terms.items()}

    yield run_step


# the three steps of the method


def test_order_is_validation_weight_update_step(reweighted: Path) -> None:
    rows = [json.loads(line) for line in (reweighted / "log.jsonl").read_text().splitlines()]
    kinds = [
        (
            row["step"],
            next(
                name
                for name in ("val/matching_accuracy", "active_identity_fraction", "total_loss")
                if name in row
            ),
        )
        for row in rows
    ]
    loss, share, validated = "total_loss", "active_identity_fraction", "val/matching_accuracy"
    assert kinds == [
        (0, loss), (1, loss), (2, share), (2, loss), (3, validated), (3, loss), (4, share), (4, loss),
        (5, loss), (6, validated),
    ]  # fmt: skip
    assert [row["active_identity_fraction"] for row in lines(reweighted, share)] == [
        0.5,
        0.7,
    ]  # half, then two of ten
    best = load_model(reweighted / "checkpoints" / "best.safetensors").extra["step"]
    accuracies = {row["step"]: row[validated] for row in lines(reweighted, validated)}
    assert best == max(accuracies, key=lambda number: (accuracies[number], -number))


def test_last_validation_is_of_the_final_weights(
    reweighted: Path, population: Path, tiny_overrides: tuple[str, ...], tmp_path: Path
) -> None:
    config = config_of(tiny_overrides)
    names = load_model(reweighted / "model.safetensors").extra["names"]
    model = build_model(config, names, InitialWeights(checkpoint=reweighted / "model.safetensors"))
    with Run(tmp_path / "run", seed=1, config={}, system="s", device="cpu") as run:
        again = validate(run, 6, model, config, load_validation(population, config))
    assert again == lines(reweighted, "val/matching_accuracy")[-1]["val/matching_accuracy"]
    assert model.training and model.F.model.training and model.V.fc[0].training


def test_model_file_holds_identities_and_disclaimer(final_run: Path, population: Path) -> None:
    extra = load_model(final_run / "model.safetensors").extra
    corpus = load_split(population, "train")
    assert extra["names"] == [record.identity.face_id for record in corpus.records]
    assert "a synthetic population" in extra["disclaimer"]
    assert extra["source"] == {"id_weights": "id_weight.safetensors"}


def test_identity_weights_reach_the_main_run_and_stay_fixed(
    reweighted: Path, id_weights: Path, final_run: Path
) -> None:
    result = weights_of(reweighted)["center.weight"]
    assert 0 < int((result == 0).sum()) < len(result)
    assert torch.equal(load_model(id_weights, kind="id_weight").state["center.weight"], result)
    assert torch.equal(weights_of(final_run)["center.weight"], result)


def test_identity_weights_can_be_taken_from_an_earlier_step(
    call: Call, reweighted: Path, tmp_path: Path, capsys: Any
) -> None:
    assert call("extract_id_weight", reweighted, "--step", "2", "--out", tmp_path / "w.safetensors") == 0
    weight = load_model(tmp_path / "w.safetensors").state["center.weight"]
    assert torch.equal(weight, torch.ones(10))  # the first update comes before the third step
    assert call("extract_id_weight", reweighted, "--step", "5", "--out", tmp_path / "x.safetensors") == 1
    message = capsys.readouterr().err
    assert "step 5" in message and "step_000004" in message
    assert not (tmp_path / "x.safetensors").exists()


def test_published_identity_weights_are_read_and_written(
    train: Call, call: Call, reweighted: Path, tmp_path: Path
) -> None:
    weight = torch.linspace(0, 1, 10)
    torch.save({"center.weight": weight}, tmp_path / "id_weight.pth")
    run = tmp_path / "run"
    assert train(run, "--id-weights", tmp_path / "id_weight.pth", "training.max_steps=1", cfg="main") == 0
    assert torch.equal(weights_of(run)["center.weight"], weight)
    assert call("extract_id_weight", reweighted, "--out", tmp_path / "out.pth") == 0
    published = torch.load(tmp_path / "out.pth", weights_only=True)
    assert [*published] == ["center.weight"]
    assert torch.equal(published["center.weight"], weights_of(reweighted)["center.weight"])


def test_weights_of_other_identities_are_refused(
    train: Call, id_weights: Path, tmp_path: Path, capsys: Any
) -> None:
    loaded = load_model(id_weights)

    def message(names: list[str], weight: torch.Tensor) -> str:
        path = tmp_path / "other.safetensors"
        how = {"system": "seeking_shape", "kind": "id_weight", "config": {}, "extra": {"names": names}}
        save_model(path, {"center.weight": weight}, **how)
        assert train(tmp_path / "run", "--id-weights", path, "training.max_steps=1", cfg="main") == 1
        return capsys.readouterr().err

    names, weight = loaded.extra["names"], loaded.state["center.weight"]
    swapped = [names[1], names[0], *names[2:]]
    text = message(swapped, weight)
    assert "other.safetensors" in text and "identity 0" in text and names[0] in text and names[1] in text
    text = message(names[:9], weight[:9])
    assert "9 identities" in text and "10" in text
    # A failed start leaves the folder usable.
    assert train(tmp_path / "run", "--id-weights", id_weights, "training.max_steps=1", cfg="main") == 0


# options


def test_frozen_branch_keeps_every_bit(train: Call, final_run: Path, tmp_path: Path) -> None:
    before = weights_of(final_run)
    words = [
        "--checkpoint",
        final_run / "model.safetensors",
        "training.max_steps=3",
        "training.freeze=[face]",
    ]
    assert train(tmp_path / "run", *words) == 0
    after = weights_of(tmp_path / "run")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not {key for key in changed if key.startswith("F.")}
    assert "V.fc.0.running_mean" in changed and "V.fc.2.weight" in changed


def test_checkpoint_of_other_identities_gives_all_but_the_classifier(
    tiny_overrides: tuple[str, ...], final_run: Path, caplog: Any
) -> None:
    names = [str(number) for number in range(7)]
    model = build_model(
        config_of(tiny_overrides), names, InitialWeights(checkpoint=final_run / "model.safetensors")
    )
    before, after = weights_of(final_run), model.state_dict()
    assert (
        after["F.cls.weight"].shape[0] == 7
        and "trained on 10 other identities; the classifier is re-initialised for 7" in caplog.text
    )
    others = [key for key in before if key != "F.cls.weight" and not key.startswith("center.")]
    assert all(torch.equal(before[key], after[key]) for key in others)


def test_published_weighting_acts_by_the_mean_of_the_batch_only(
    step: Callable[..., dict[str, float]],
) -> None:
    weight = torch.zeros(10)
    weight[batch()["label"][:3]] = 1  # three of eight samples count
    plain = step()
    meant = step("loss.identity_loss_weighting=per_sample", weight=weight)
    published = step("loss.identity_loss_weighting=batch_mean", weight=weight)
    mean = 3 / 8 * 10 / 3  # batch mean of the weights, scaled to a mean of one over all identities
    for term in ("face_ce_loss", "voice_ce_loss"):
        assert published[term] == pytest.approx(mean * plain[term], rel=1e-5)
        assert abs(meant[term] - published[term]) > 1e-3
    assert meant["crosssp_loss"] == published["crosssp_loss"] != plain["crosssp_loss"]
    assert meant["mean_hardness"] == published["mean_hardness"] == plain["mean_hardness"]


def test_loss_options_change_their_own_term(step: Callable[..., dict[str, float]]) -> None:
    plain = step()
    assert "crosssp_loss" not in step("loss.explicit=false")
    wider = step("loss.explicit_constant=7.0")
    assert wider["crosssp_loss"] > plain["crosssp_loss"] and wider["face_ce_loss"] == plain["face_ce_loss"]
    scaled = step("loss.loss_weight=[2.0,1.0,0.5]")
    assert scaled["face_ce_loss"] == pytest.approx(2 * plain["face_ce_loss"])
    assert scaled["crosssp_loss"] == pytest.approx(plain["crosssp_loss"] / 2)
    terms = [scaled[name] for name in ("face_ce_loss", "voice_ce_loss", "crosssp_loss")]
    assert scaled["total_loss"] == pytest.approx(sum(terms))
    smooth = step("loss.label_smoothing=0.2")
    assert smooth["face_ce_loss"] != plain["face_ce_loss"]
    assert smooth["crosssp_loss"] == plain["crosssp_loss"]


def test_off_centre_rotation_changes_the_run(train: Call, tmp_path: Path) -> None:
    for name in ("expand_centred", "published"):
        assert train(tmp_path / name, "training.max_steps=1", f"data.rotation={name}") == 0
    first = [lines(tmp_path / name, "total_loss")[0] for name in ("expand_centred", "published")]
    assert first[0]["face_ce_loss"] != first[1]["face_ce_loss"]
    assert first[0]["voice_ce_loss"] == first[1]["voice_ce_loss"]
