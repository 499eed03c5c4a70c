"""Agreement of made pictures with true people: chance, ceilings, intervals, what is tied to the voice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle_listener import render_listener_faces
from voiceface.synthetic.agreement import parts
from voiceface.synthetic.agreement.agreement import (
    agreement_from_predictions,
    measure_agreement,
    predict_identities,
)
from voiceface.synthetic.agreement.result import METRIC_DESCRIPTIONS
from voiceface.synthetic.face.geometry_truth import (
    build_face_ground_truth,
    generate_face_ground_truth,
    read_face_ground_truth,
)
from voiceface.synthetic.face.render import prepare_face, render_image
from voiceface.synthetic.ground_truth import GroundTruthError
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
    """Truth of as many women as men, women first."""
    whole = sample_identities(np.arange(200), rho=rho)
    rows = [*np.flatnonzero(whole.sex == 0)[:each], *np.flatnonzero(whole.sex == 1)[:each]]
    return build_face_ground_truth(whole.take(rows))


def reading_of(truth, pictures=1, noise=0.0, seed=0):
    """What a judge would read that knows the truth up to noise; embeddings hold all of it."""
    rng = np.random.default_rng(seed)

    def seen(value):
        value = np.repeat(np.asarray(value, float)[:, None], pictures, axis=1)
        return torch.from_numpy(value + noise * rng.normal(size=value.shape))

    table = np.hstack([truth.factors, truth.shape])
    embedding = torch.nn.functional.normalize(seen(table), dim=-1)
    return AttributePrediction(
        embedding, seen(2.0 * truth.sex - 1), seen(truth.factors), seen(truth.shape), seen(truth.skin)
    )


def rows_of(reading, rows):
    return AttributePrediction(
        *(getattr(reading, name)[rows] for name in vars(reading) if name != "features")
    )


@pytest.fixture(scope="module")
def judge():
    """An untrained judge that claims to read everything fairly well."""
    made = AttributeReader(
        AttributeReaderConfig(widths=(4, 4, 4, 4), bottleneck_channels=2, hidden_dim=8, embedding_dim=8)
    )
    made.factor_r2 += 0.6
    made.shape_r2 += 0.6
    return made


def test_a_maker_who_knows_the_face_agrees_fully(judge):
    truth = truth_of_equal_sexes()
    found = agreement_from_predictions(judge, reading_of(truth), reading_of(truth, 2), truth, replicates=20)
    assert list(found.metrics) == list(METRIC_DESCRIPTIONS)
    for name, figure in found.metrics.items():
        wanted = 0.0 if name == "skin distance" else 1.0
        assert figure.value == pytest.approx(wanted) and figure.real_image_value == pytest.approx(wanted), (
            name
        )
        assert figure.normalized_gain == pytest.approx(1) and figure.low == pytest.approx(wanted)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_chance_is_the_mean_over_all_exchanges_within_a_sex(judge, noise):
    """Turning each sex round by 1 ... n - 1 places gives everybody each other's picture exactly once."""
    each = 5
    truth = truth_of_equal_sexes(each)
    made, real = reading_of(truth, noise=noise), reading_of(truth, 3, noise=0.3, seed=1)
    stated = agreement_from_predictions(judge, made, real, truth, replicates=2).metrics
    seen = []
    for turn in range(1, each):
        rows = np.concatenate([np.roll(np.arange(each), turn), each + np.roll(np.arange(each), turn)])
        seen.append(agreement_from_predictions(judge, rows_of(made, rows), real, truth, replicates=2).metrics)
    for name, figure in stated.items():
        if name != "gender accuracy":
            assert figure.chance == pytest.approx(np.mean([one[name].value for one in seen])), name
    # For the sex anyone's picture counts: 4 of the 9 others are of the own sex.
    right = parts.sex_correct(parts.average_images(made), truth.sex)
    assert stated["gender accuracy"].chance == pytest.approx((right.sum() - np.trace(right)) / 90)


def test_a_picture_of_anyone_of_the_sex_is_at_chance(judge):
    truth = truth_of_equal_sexes(40)
    real, rng = reading_of(truth, 2, noise=0.2), np.random.default_rng(3)
    rows = np.concatenate([rng.permutation(40), 40 + rng.permutation(40)])
    found = agreement_from_predictions(judge, rows_of(reading_of(truth), rows), real, truth).metrics
    for name, figure in found.items():
        if (name != "gender accuracy" and "same-gender" in name) or name.startswith("factor"):
            assert abs(figure.value - figure.chance) < 5 * figure.standard_error, name
    assert found["gender accuracy"].value == 1.0 and found["shape"].chance > found["same-gender shape"].chance


def test_the_order_of_people_does_not_matter(judge):
    truth = truth_of_equal_sexes()
    made, real = reading_of(truth, noise=0.5), reading_of(truth, 2, noise=0.5, seed=2)
    one = agreement_from_predictions(judge, made, real, truth, replicates=2).metrics
    rows = np.random.default_rng(0).permutation(12)
    fields = ("ids", "sex", "factors", "shape", "skin")
    moved = replace(truth, **{name: getattr(truth, name)[rows] for name in fields})
    two = agreement_from_predictions(
        judge, rows_of(made, rows), rows_of(real, rows), moved, replicates=2
    ).metrics
    for name in one:
        assert one[name].value == pytest.approx(two[name].value), name
        assert one[name].chance == pytest.approx(two[name].chance), name
        assert one[name].real_image_value == pytest.approx(two[name].real_image_value), name


def test_correlation_against_a_slow_twin():
    made, aim = RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4))
    aim += made
    sex = np.arange(30) % 2
    draws = RNG.multinomial(30, np.full(30, 1 / 30), 5).astype(float)
    for within in (False, True):

        def twin(rows, within=within):
            x, y, s = made[rows], aim[rows], sex[rows]
            if within:
                x, y = (
                    np.concatenate([v[s == 0] - v[s == 0].mean(0), v[s == 1] - v[s == 1].mean(0)])
                    for v in (x, y)
                )
            return np.mean([np.corrcoef(x[:, j], y[:, j])[0, 1] for j in range(4)])

        found = parts.mean_correlation(made, aim, sex, draws, within_sex=within)
        assert found.value == pytest.approx(twin(np.arange(30)))
        rows = [np.repeat(np.arange(30), draw.astype(int)) for draw in draws]
        assert found.replicates == pytest.approx([twin(row) for row in rows])


def test_a_maker_of_one_picture_correlates_with_nothing(judge):
    truth = truth_of_equal_sexes()
    same = rows_of(reading_of(truth), np.zeros(12, int))
    found = agreement_from_predictions(judge, same, reading_of(truth, 2), truth, replicates=50).metrics
    assert found["factors"].value == found["factors"].chance == found["shape"].value == 0.0
    assert found["gender accuracy"].value == 0.5
    assert found["rank-1 identification"].value == pytest.approx(1 / 12) and found[
        "rank-5 identification"
    ].value == pytest.approx(5 / 12)


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


def test_tied_scores_are_the_log_likelihood_of_sex_and_factors():
    truth = truth_of_equal_sexes(2)
    noise = np.linspace(0.2, 0.9, 8)
    side = parts.average_images(reading_of(truth, noise=0.8))
    found = parts.attribute_log_likelihood(side, truth.sex, truth.factors, noise)
    chance = 1 / (1 + np.exp(-side.sex_logit[1]))
    gap = side.factors[1] - truth.factors[3]
    assert truth.sex[3] == 1
    assert found[1, 3] == pytest.approx(np.log(chance) - 0.5 * (gap**2 / noise).sum())


def test_what_is_tied_follows_the_population(judge):
    def figures(truth):
        return agreement_from_predictions(
            judge, reading_of(truth), reading_of(truth, 2), truth, replicates=2
        ).metrics

    loose = figures(truth_of_equal_sexes(rho=0.0))
    assert (
        loose["gender accuracy"].voice_dependence == "voice-determined"
        and loose["rank-1 identification"].voice_dependence
        == loose["shape"].voice_dependence
        == "partly voice-determined"
    )
    for name in (
        "factors",
        "factor age",
        "same-gender shape",
        "same-gender 1:2 matching",
        "voice-determined same-gender 1:2 matching",
    ):
        assert loose[name].voice_dependence == "voice-independent", name
    assert loose["factors"].upper_bound == loose["same-gender shape"].upper_bound == 0.0
    usual = figures(truth_of_equal_sexes(rho=0.7))
    assert usual["factor lip"].voice_dependence == "voice-determined" and usual[
        "factor lip"
    ].upper_bound == pytest.approx(0.7)
    assert (
        0.3 < usual["same-gender shape"].upper_bound < 0.7
        and usual["skin"].voice_dependence == "voice-independent"
    )
    assert (
        usual["voice-independent same-gender shape"].voice_dependence == "voice-independent"
        and usual["voice-independent same-gender shape"].upper_bound == 0
    )
    truth = replace(truth_of_equal_sexes(), share_sex=False, confound=0.5)
    assert (
        figures(truth)["gender accuracy"].voice_dependence == "voice-independent"
        and figures(truth)["skin"].voice_dependence == "partly voice-determined"
    )


def test_only_readable_coefficients_count(judge):
    truth = truth_of_equal_sexes()
    blind = AttributeReader(judge.config)
    found = agreement_from_predictions(
        blind, reading_of(truth), reading_of(truth, 2), truth, replicates=2
    ).metrics
    assert not {"shape", "same-gender shape", "voice-independent same-gender shape"} & set(found)


def test_several_made_pictures_are_averaged_and_one_true_picture_gives_no_ceiling(judge):
    truth = truth_of_equal_sexes(20)
    real = reading_of(truth, 1)
    one = agreement_from_predictions(judge, reading_of(truth, 1, noise=1.0), real, truth, replicates=2)
    many = agreement_from_predictions(judge, reading_of(truth, 16, noise=1.0), real, truth, replicates=2)
    assert many.metrics["factors"].value > one.metrics["factors"].value + 0.1
    assert many.num_generated == 16 and many.num_gallery_images == 1
    assert one.metrics["factors"].real_image_value is None and one.metrics["factors"].normalized_gain is None
    assert "-" in one.format_table()


def test_what_cannot_be_compared_is_refused(judge):
    truth = truth_of_equal_sexes(3)
    with pytest.raises(ValueError, match="same identities: got 5, 6 and 6"):
        agreement_from_predictions(judge, rows_of(reading_of(truth), range(5)), reading_of(truth, 2), truth)
    lonely = replace(truth, sex=np.array([0, 0, 0, 0, 0, 1]))
    with pytest.raises(ValueError, match="two identities of each sex"):
        agreement_from_predictions(judge, reading_of(truth), reading_of(truth), lonely)
    broken = reading_of(truth)
    broken.factors[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        agreement_from_predictions(judge, broken, reading_of(truth), truth)
    with pytest.raises(ValueError, match="identities, images, 3, S, S"):
        predict_identities(judge, torch.rand(4, 3, 64, 64))


def test_table_and_json(judge, tmp_path):
    truth = truth_of_equal_sexes(rho=0.7)
    found = agreement_from_predictions(
        judge, reading_of(truth, noise=0.3), reading_of(truth, 3, noise=0.3), truth
    )
    table = found.format_table()
    assert table.startswith("synthetic population, 12 identities") and "95% interval" in table
    assert "voice-determined (follows the voice): gender accuracy, factors" in table
    assert "voice-independent (does not): voice-independent same-gender shape" in table
    found.save(tmp_path / "agreement.json")
    again = json.loads((tmp_path / "agreement.json").read_text())
    assert (
        again["data"] == "synthetic population"
        and again["num_identities"] == 12
        and again["num_gallery_images"] == 2
    )
    assert (
        again["metrics"]["rank-1 identification"]["description"]
        == METRIC_DESCRIPTIONS["rank-1 identification"]
    )
    assert again["metrics"]["factors"]["value"] == found.metrics["factors"].value


def test_the_bundled_judge_tells_true_from_exchanged_pictures():
    people = sample_identities(np.arange(116, 146), rho=1.0)
    pictures = np.empty((30, 3, 64, 64, 3), np.uint8)
    for i in range(30):
        face = prepare_face(people, i)
        for j in range(3):
            pictures[i, j] = render_image(people, i, j, image_size=64, nuisance=0.3, face=face).image
    shown = torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).contiguous()
    judge, truth = attribute_reader.load_reader(), build_face_ground_truth(people)
    right = measure_agreement(judge, shown[:, 0], shown[:, 1:], truth, replicates=100)
    assert right.reader_sha256 == judge.metadata["sha256"]
    for name in (
        "factors",
        "same-gender shape",
        "rank-1 identification",
        "voice-determined rank-10 identification",
        "same-gender 1:2 matching",
        "skin",
    ):
        figure = right.metrics[name]
        assert figure.low > figure.chance and 0.6 < figure.normalized_gain < 1.5, name
    others = np.arange(30)
    for sex in (0, 1):
        mine = np.flatnonzero(truth.sex == sex)
        others[mine] = np.roll(mine, 1)
    wrong = measure_agreement(
        judge, shown[others, 0].float() / 255.0, shown[:, 1:], truth, replicates=100
    ).metrics
    for name in ("factors", "same-gender shape", "same-gender 1:2 matching"):
        assert abs(wrong[name].value - wrong[name].chance) < 4 * wrong[name].standard_error, name


def test_a_perfect_listener_draws_what_the_voice_tells_and_nothing_else():
    """At rho 0.7 the factors follow the voice's; at rho 0 a sex differs in free things only."""
    ids, judge = list(range(116, 146)), attribute_reader.load_reader()
    read = {}
    for rho in (0.0, 0.7):
        settings = build_settings("quick", rho=rho)
        made = render_listener_faces(settings, ids)
        assert made.shape == (30, 3, 64, 64) and made.dtype == torch.uint8
        read[rho] = attribute_reader.predict_batched(judge, made)
    people = sample_identities(np.array(ids), rho=0.7)
    assert np.array_equal(read[0.7].sex_logit.numpy() > 0, people.sex == 1)
    found = read[0.7].factors.numpy()
    for j in range(8):
        assert np.corrcoef(found[:, j], people.voice_factors[:, j])[0, 1] > 0.8, j
    assert (read[0.0].factors.numpy().std(0) < 0.5 * found.std(0)).all()
    skins = build_face_ground_truth(people).skin.mean(1)
    assert abs(np.corrcoef(read[0.7].skin.numpy().mean(1), skins)[0, 1]) < 0.6


def test_truth_of_a_folder_is_the_truth_of_its_settings(tmp_path):
    how = {
        "train": 3,
        "val": 1,
        "test": 2,
        "clips": 1,
        "clip_seconds": 0.2,
        "images": 1,
        "render_size": 32,
    }
    settings = build_settings("tiny", rho=0.5, **how)
    write_population(tmp_path / "people", settings, workers=1, lists=False, progress=False)
    ids = settings.ids("test")[::-1] + settings.ids("train")
    names = [get_face_name(k, settings) for k in ids]
    found, wanted = (
        read_face_ground_truth(tmp_path / "people", names),
        generate_face_ground_truth(settings, ids),
    )
    assert found.ids.tolist() == ids and np.array_equal(found.shape, wanted.shape)
    stored = np.load(tmp_path / "people" / "truth" / "shape.npy")
    place = {k: row for row, k in enumerate(settings.ids())}
    assert np.allclose(stored[[place[k] for k in ids]], found.shape, atol=1e-5)
    with pytest.raises(GroundTruthError, match="not in the population"):
        read_face_ground_truth(tmp_path / "people", ["Nobody.00001"])


def test_skin_of_the_truth_is_what_the_picture_shows():
    """Between two people of very different skin the cheeks differ in the same direction."""
    people = sample_identities(np.arange(60))
    truth = build_face_ground_truth(people)
    order = np.argsort(truth.skin.mean(1))
    cheeks = []
    for row in (order[0], order[-1]):
        drawn = render_image(people, int(row), 0, image_size=64, nuisance=0.0)
        x, y = np.rint((drawn.landmarks[2] + drawn.landmarks[30]) / 2).astype(int)
        cheeks.append(drawn.image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(0) / 255)
    wanted = truth.skin[order[-1]] - truth.skin[order[0]]
    assert (wanted > 0.2).all() and np.allclose(cheeks[1] - cheeks[0], wanted, atol=0.15)
