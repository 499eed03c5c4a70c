"""Agreement of generated images with identities: chance levels, references, dependence on the voice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from voiceface.synthetic.agreement import parts
from voiceface.synthetic.agreement.agreement import (
    agreement_from_predictions,
    measure_agreement,
    predict_identities,
)
from voiceface.synthetic.agreement.ideal_generator import render_ideal_faces
from voiceface.synthetic.agreement.result import METRIC_DESCRIPTIONS
from voiceface.synthetic.ground_truth import GroundTruthError
from voiceface.synthetic.head.geometry_truth import (
    build_face_ground_truth,
    generate_face_ground_truth,
    read_face_ground_truth,
)
from voiceface.synthetic.head.render import prepare_face, render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import build_settings, get_face_name
from voiceface.synthetic.readers import attribute_reader
from voiceface.synthetic.readers.attribute_reader import (
    AttributePrediction,
    AttributeReader,
    AttributeReaderConfig,
)
from voiceface.synthetic.writer import write_population

RNG = np.random.default_rng(1)


def truth_of_equal_sexes(each=6, rho=1.0):
    """Ground truth of as many women as men, women first."""
    population = sample_identities(np.arange(200), rho=rho)
    rows = [*np.flatnonzero(population.sex == 0)[:each], *np.flatnonzero(population.sex == 1)[:each]]
    return build_face_ground_truth(population.take(rows))


def predict(truth, num_images=1, noise=0.0, seed=0):
    """Predictions of a reader that knows the ground truth up to noise; embeddings contain all of it."""
    rng = np.random.default_rng(seed)

    def add_noise(value):
        value = np.repeat(np.asarray(value, float)[:, None], num_images, axis=1)
        return torch.from_numpy(value + noise * rng.normal(size=value.shape))

    table = np.hstack([truth.factors, truth.shape])
    embedding = torch.nn.functional.normalize(add_noise(table), dim=-1)
    return AttributePrediction(
        embedding,
        add_noise(2.0 * truth.sex - 1),
        add_noise(truth.factors),
        add_noise(truth.shape),
        add_noise(truth.skin),
    )


def rows_of(reading, rows):
    return AttributePrediction(
        *(getattr(reading, name)[rows] for name in vars(reading) if name != "features")
    )


@pytest.fixture(scope="module")
def reader():
    """An untrained reader with a stated R² of 0.6 of every attribute."""
    untrained = AttributeReader(
        AttributeReaderConfig(widths=(4, 4, 4, 4), bottleneck_channels=2, hidden_dim=8, embedding_dim=8)
    )
    untrained.factor_r2 += 0.6
    untrained.shape_r2 += 0.6
    return untrained


def test_a_generator_that_knows_the_face_agrees_fully(reader):
    truth = truth_of_equal_sexes()
    result = agreement_from_predictions(reader, predict(truth), predict(truth, 2), truth, replicates=20)
    assert list(result.metrics) == list(METRIC_DESCRIPTIONS)
    for name, metric in result.metrics.items():
        expected = 0.0 if name == "skin distance" else 1.0
        assert metric.value == pytest.approx(expected) and metric.real_image_value == pytest.approx(
            expected
        ), name
        assert metric.normalized_gain == pytest.approx(1) and metric.low == pytest.approx(expected)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_chance_is_the_mean_over_all_exchanges_within_a_sex(reader, noise):
    """Rotating each sex by 1 ... n - 1 places assigns each identity every other image exactly once."""
    each = 5
    truth = truth_of_equal_sexes(each)
    generated, real = predict(truth, noise=noise), predict(truth, 3, noise=0.3, seed=1)
    stated = agreement_from_predictions(reader, generated, real, truth, replicates=2).metrics
    seen = []
    for turn in range(1, each):
        rows = np.concatenate([np.roll(np.arange(each), turn), each + np.roll(np.arange(each), turn)])
        seen.append(
            agreement_from_predictions(reader, rows_of(generated, rows), real, truth, replicates=2).metrics
        )
    for name, metric in stated.items():
        if name != "gender accuracy":
            assert metric.chance == pytest.approx(np.mean([one[name].value for one in seen])), name
    # The sex is compared with images of both sexes: 4 of the 9 others have the same sex.
    right = parts.sex_correct(parts.average_images(generated), truth.sex)
    assert stated["gender accuracy"].chance == pytest.approx((right.sum() - np.trace(right)) / 90)


def test_images_of_others_of_the_same_sex_are_at_chance(reader):
    truth = truth_of_equal_sexes(40)
    real, rng = predict(truth, 2, noise=0.2), np.random.default_rng(3)
    rows = np.concatenate([rng.permutation(40), 40 + rng.permutation(40)])
    result = agreement_from_predictions(reader, rows_of(predict(truth), rows), real, truth).metrics
    for name, metric in result.items():
        if (name != "gender accuracy" and "same-gender" in name) or name.startswith("factor"):
            assert abs(metric.value - metric.chance) < 5 * metric.standard_error, name
    assert (
        result["gender accuracy"].value == 1.0 and result["shape"].chance > result["same-gender shape"].chance
    )


def test_the_order_of_identities_does_not_matter(reader):
    truth = truth_of_equal_sexes()
    generated, real = predict(truth, noise=0.5), predict(truth, 2, noise=0.5, seed=2)
    one = agreement_from_predictions(reader, generated, real, truth, replicates=2).metrics
    rows = np.random.default_rng(0).permutation(12)
    fields = ("ids", "sex", "factors", "shape", "skin")
    moved = replace(truth, **{name: getattr(truth, name)[rows] for name in fields})
    two = agreement_from_predictions(
        reader, rows_of(generated, rows), rows_of(real, rows), moved, replicates=2
    ).metrics
    for name in one:
        assert one[name].value == pytest.approx(two[name].value), name
        assert one[name].chance == pytest.approx(two[name].chance), name
        assert one[name].real_image_value == pytest.approx(two[name].real_image_value), name


def test_correlation_against_a_slow_implementation():
    generated, target = RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4))
    target += generated
    sex = np.arange(30) % 2
    counts = RNG.multinomial(30, np.full(30, 1 / 30), 5).astype(float)
    for within in (False, True):

        def twin(rows, within=within):
            x, y, s = generated[rows], target[rows], sex[rows]
            if within:
                x, y = (
                    np.concatenate([v[s == 0] - v[s == 0].mean(0), v[s == 1] - v[s == 1].mean(0)])
                    for v in (x, y)
                )
            return np.mean([np.corrcoef(x[:, j], y[:, j])[0, 1] for j in range(4)])

        result = parts.mean_correlation(generated, target, sex, counts, within_sex=within)
        assert result.value == pytest.approx(twin(np.arange(30)))
        rows = [np.repeat(np.arange(30), draw.astype(int)) for draw in counts]
        assert result.replicates == pytest.approx([twin(row) for row in rows])


def test_a_constant_image_correlates_with_nothing(reader):
    truth = truth_of_equal_sexes()
    same = rows_of(predict(truth), np.zeros(12, int))
    result = agreement_from_predictions(reader, same, predict(truth, 2), truth, replicates=50).metrics
    assert result["factors"].value == result["factors"].chance == result["shape"].value == 0.0
    assert result["gender accuracy"].value == 0.5
    assert result["rank-1 identification"].value == pytest.approx(1 / 12)
    assert result["rank-5 identification"].value == pytest.approx(5 / 12)


def test_ties_and_ranks_by_hand():
    scores = np.array([[3.0, 2, 2, 1], [0, 0, 0, 0], [5, 1, 4, 2], [0, 1, 2, 3]])
    assert parts.rank_k_identification(scores, 1).tolist() == [
        [1, 0, 0, 0],
        [0.25] * 4,
        [1, 0, 0, 0],
        [0, 0, 0, 1],
    ]
    assert parts.rank_k_identification(scores, 2)[0].tolist() == [1, 0.5, 0.5, 0]
    assert parts.rank_k_identification(scores, 10).min() == 1
    group = np.array([0, 1, 1, 0])
    assert parts.fraction_beaten(scores, group)[0].tolist() == [1, 0.5, 0.5, 0]
    assert parts.fraction_beaten(scores, np.zeros(4))[2].tolist() == [1, 0, 2 / 3, 1 / 3]


def test_scores_by_attributes_are_the_log_likelihood_of_sex_and_factors():
    truth = truth_of_equal_sexes(2)
    noise = np.linspace(0.2, 0.9, 8)
    prediction = parts.average_images(predict(truth, noise=0.8))
    result = parts.attribute_log_likelihood(prediction, truth.sex, truth.factors, noise)
    chance = 1 / (1 + np.exp(-prediction.sex_logit[1]))
    residual = prediction.factors[1] - truth.factors[3]
    assert truth.sex[3] == 1
    assert result[1, 3] == pytest.approx(np.log(chance) - 0.5 * (residual**2 / noise).sum())


def test_voice_dependence_follows_the_population(reader):
    def metrics(truth):
        return agreement_from_predictions(
            reader, predict(truth), predict(truth, 2), truth, replicates=2
        ).metrics

    uncoupled = metrics(truth_of_equal_sexes(rho=0.0))
    assert uncoupled["gender accuracy"].voice_dependence == "voice-determined"
    assert uncoupled["rank-1 identification"].voice_dependence == "partly voice-determined"
    assert uncoupled["shape"].voice_dependence == "partly voice-determined"
    for name in (
        "factors",
        "factor age",
        "same-gender shape",
        "same-gender 1:2 matching",
        "voice-determined same-gender 1:2 matching",
    ):
        assert uncoupled[name].voice_dependence == "voice-independent", name
    assert uncoupled["factors"].upper_bound == uncoupled["same-gender shape"].upper_bound == 0.0
    coupled = metrics(truth_of_equal_sexes(rho=0.7))
    assert coupled["factor lip"].voice_dependence == "voice-determined"
    assert coupled["factor lip"].upper_bound == pytest.approx(0.7)
    assert 0.3 < coupled["same-gender shape"].upper_bound < 0.7
    assert coupled["skin"].voice_dependence == "voice-independent"
    independent = coupled["voice-independent same-gender shape"]
    assert independent.voice_dependence == "voice-independent" and independent.upper_bound == 0
    confounded = metrics(replace(truth_of_equal_sexes(), share_sex=False, confound=0.5))
    assert confounded["gender accuracy"].voice_dependence == "voice-independent"
    assert confounded["skin"].voice_dependence == "partly voice-determined"


def test_only_readable_coefficients_count(reader):
    truth = truth_of_equal_sexes()
    blind = AttributeReader(reader.config)
    result = agreement_from_predictions(blind, predict(truth), predict(truth, 2), truth, replicates=2).metrics
    assert not {"shape", "same-gender shape", "voice-independent same-gender shape"} & set(result)


def test_several_generated_images_are_averaged_and_one_real_image_is_no_reference(reader):
    truth = truth_of_equal_sexes(20)
    real = predict(truth, 1)
    one = agreement_from_predictions(reader, predict(truth, 1, noise=1.0), real, truth, replicates=2)
    many = agreement_from_predictions(reader, predict(truth, 16, noise=1.0), real, truth, replicates=2)
    assert many.metrics["factors"].value > one.metrics["factors"].value + 0.1
    assert many.num_generated == 16 and many.num_gallery_images == 1
    assert one.metrics["factors"].real_image_value is None and one.metrics["factors"].normalized_gain is None
    assert "-" in one.format_table()


def test_invalid_inputs_raise(reader):
    truth = truth_of_equal_sexes(3)
    with pytest.raises(ValueError, match="same identities: got 5, 6 and 6"):
        agreement_from_predictions(reader, rows_of(predict(truth), range(5)), predict(truth, 2), truth)
    imbalanced = replace(truth, sex=np.array([0, 0, 0, 0, 0, 1]))
    with pytest.raises(ValueError, match="two identities of each sex"):
        agreement_from_predictions(reader, predict(truth), predict(truth), imbalanced)
    invalid = predict(truth)
    invalid.factors[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        agreement_from_predictions(reader, invalid, predict(truth), truth)
    with pytest.raises(ValueError, match="identities, images, 3, S, S"):
        predict_identities(reader, torch.rand(4, 3, 64, 64))


def test_table_and_json(reader, tmp_path):
    truth = truth_of_equal_sexes(rho=0.7)
    result = agreement_from_predictions(
        reader, predict(truth, noise=0.3), predict(truth, 3, noise=0.3), truth
    )
    table = result.format_table()
    assert table.startswith("synthetic population, 12 identities") and "95% interval" in table
    assert "\nvoice-determined: gender accuracy, factors" in table
    assert "\nvoice-independent: voice-independent same-gender shape" in table
    result.save(tmp_path / "agreement.json")
    again = json.loads((tmp_path / "agreement.json").read_text())
    assert again["data"] == "synthetic population"
    assert again["num_identities"] == 12 and again["num_gallery_images"] == 2
    name = "rank-1 identification"
    assert again["metrics"][name]["description"] == METRIC_DESCRIPTIONS[name]
    assert again["metrics"]["factors"]["value"] == result.metrics["factors"].value


def test_the_bundled_reader_distinguishes_right_from_exchanged_images():
    identities = sample_identities(np.arange(116, 146), rho=1.0)
    images = np.empty((30, 3, 64, 64, 3), np.uint8)
    for i in range(30):
        face = prepare_face(identities, i)
        for j in range(3):
            images[i, j] = render_image(identities, i, j, image_size=64, nuisance=0.3, face=face).image
    shown = torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous()
    reader, truth = attribute_reader.load_reader(), build_face_ground_truth(identities)
    right = measure_agreement(reader, shown[:, 0], shown[:, 1:], truth, replicates=100)
    assert right.reader_sha256 == reader.metadata["sha256"]
    for name in (
        "factors",
        "same-gender shape",
        "rank-1 identification",
        "voice-determined rank-10 identification",
        "same-gender 1:2 matching",
        "skin",
    ):
        metric = right.metrics[name]
        assert metric.low > metric.chance and 0.6 < metric.normalized_gain < 1.5, name
    others = np.arange(30)
    for sex in (0, 1):
        rows = np.flatnonzero(truth.sex == sex)
        others[rows] = np.roll(rows, 1)
    wrong = measure_agreement(
        reader, shown[others, 0].float() / 255.0, shown[:, 1:], truth, replicates=100
    ).metrics
    for name in ("factors", "same-gender shape", "same-gender 1:2 matching"):
        assert abs(wrong[name].value - wrong[name].chance) < 4 * wrong[name].standard_error, name


def test_an_ideal_generator_renders_the_voice_dependent_attributes_only():
    """At rho 0.7 the factors follow those of the voice; at rho 0 they do not vary."""
    ids, reader = list(range(116, 146)), attribute_reader.load_reader()
    read = {}
    for rho in (0.0, 0.7):
        settings = build_settings("quick", rho=rho)
        generated = render_ideal_faces(settings, ids)
        assert generated.shape == (30, 3, 64, 64) and generated.dtype == torch.uint8
        read[rho] = attribute_reader.predict_batched(reader, generated)
    identities = sample_identities(np.array(ids), rho=0.7)
    assert np.array_equal(read[0.7].sex_logit.numpy() > 0, identities.sex == 1)
    result = read[0.7].factors.numpy()
    for j in range(8):
        assert np.corrcoef(result[:, j], identities.voice_factors[:, j])[0, 1] > 0.8, j
    assert (read[0.0].factors.numpy().std(0) < 0.5 * result.std(0)).all()
    skins = build_face_ground_truth(identities).skin.mean(1)
    assert abs(np.corrcoef(read[0.7].skin.numpy().mean(1), skins)[0, 1]) < 0.6


def test_ground_truth_of_a_folder_is_that_of_its_settings(tmp_path):
    sizes = {"train": 3, "val": 1, "test": 2, "clips": 1, "images": 1}
    settings = build_settings("tiny", rho=0.5, clip_seconds=0.2, render_size=32, **sizes)
    write_population(tmp_path / "identities", settings, workers=1, lists=False, progress=False)
    ids = settings.ids("test")[::-1] + settings.ids("train")
    names = [get_face_name(k, settings) for k in ids]
    result = read_face_ground_truth(tmp_path / "identities", names)
    expected = generate_face_ground_truth(settings, ids)
    assert result.ids.tolist() == ids and np.array_equal(result.shape, expected.shape)
    stored = np.load(tmp_path / "identities" / "truth" / "shape.npy")
    place = {k: row for row, k in enumerate(settings.ids())}
    assert np.allclose(stored[[place[k] for k in ids]], result.shape, atol=1e-5)
    with pytest.raises(GroundTruthError, match="not in the population"):
        read_face_ground_truth(tmp_path / "identities", ["Nobody.00001"])


def test_the_true_skin_colour_is_that_of_the_image():
    """The cheeks of the identities with the darkest and the lightest skin differ as their skin colours do."""
    identities = sample_identities(np.arange(60))
    truth = build_face_ground_truth(identities)
    order = np.argsort(truth.skin.mean(1))
    cheeks = []
    for row in (order[0], order[-1]):
        rendered = render_image(identities, int(row), 0, image_size=64, nuisance=0.0)
        x, y = np.rint((rendered.landmarks[2] + rendered.landmarks[30]) / 2).astype(int)
        cheeks.append(rendered.image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(0) / 255)
    expected = truth.skin[order[-1]] - truth.skin[order[0]]
    assert (expected > 0.2).all() and np.allclose(cheeks[1] - cheeks[0], expected, atol=0.15)
