"""Metrics of the suite: matching of labelled utterances, errors of heads, agreement of images."""

import numpy as np
import pytest
from PIL import Image
from voiceface.suite import scoring


def test_metrics_of_a_worked_case():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, np.nan]])
    metrics = scoring.compute_matching_metrics(scores, ["a", "b", "c"], ["a", "b", "c"])
    # a: above both distractors. b: below one of two. c: its face cannot be used.
    assert metrics.matching_accuracy.value == pytest.approx((1 + 0.5) / 2) and metrics.rank1_rate.value == 0.5
    assert metrics.median_rank == 1.5 and metrics.rank1_chance == pytest.approx(1 / 3)
    assert (metrics.num_utterances, metrics.num_identities) == (2, 2)


def test_equal_scores_are_at_chance_level_and_unknown_identities_have_no_metrics():
    scores = np.zeros((4, 5))
    identities = ["a", "b", "c", "d"], ["a", "b", "c", "d", "e"]
    metrics = scoring.compute_matching_metrics(scores, *identities)
    assert metrics.matching_accuracy.value == 0.5 and metrics.rank1_rate.value == pytest.approx(
        metrics.rank1_chance
    ) == pytest.approx(0.2)
    assert scoring.compute_matching_metrics(scores, ["x", "", "y", "z"], identities[1]) is None


def test_a_system_does_not_differ_from_itself_and_beats_chance():
    scores = np.eye(6) + 0.1 * np.random.default_rng(0).random((6, 6))
    identities = [str(k) for k in range(6)]
    differences = scoring.compare_matching(
        {"one": scores, "same": scores.copy(), "none": 0 * scores}, identities, identities
    )
    assert differences["same"].value == 0 and differences["same"].p_value == 1
    assert differences["none"].value == pytest.approx(0.5) and differences["none"].low > 0


def test_ground_truth_heads_have_no_error_and_the_mean_head_has_that_of_the_baseline():
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


def test_images_of_other_identities_have_a_lower_agreement(tiny_population):
    from voiceface.synthetic.layout import build_settings

    settings = build_settings("tiny")
    rows = [
        row.split(",")[1] for row in (tiny_population / "list_wav" / "vox1_test.csv").read_text().split()[1:]
    ]
    files = [sorted((tiny_population / "faces" / name).iterdir()) for name in rows]
    ids = [int(name.rsplit(".", 1)[1]) for name in rows]
    real = [np.asarray(Image.open(each[1])) for each in files]
    metrics = scoring.measure_image_agreement([*real[:7], None], files, settings, ids)
    shifted = scoring.measure_image_agreement(real[1:] + real[:1], files, settings, ids)
    assert (
        metrics.num_identities == 7
        and metrics.metrics["gender accuracy"].value == 1
        and metrics.metrics["1:2 matching"].value > 0.95
    )
    assert shifted.num_identities == 8 and shifted.metrics["1:2 matching"].value < 0.7
    assert scoring.measure_image_agreement([None] * 6 + real[6:], files, settings, ids) is None
