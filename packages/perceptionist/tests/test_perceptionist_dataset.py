"""Data sets and samples: triplets, crops, images, projected ground truth, folders and layouts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from perceptionist.dataset.open import load_dataset
from perceptionist.dataset.records import FaceImages, Utterances, VoiceFaceDataset
from perceptionist.face_models.io import resolve_face_model
from perceptionist.sampling import (
    FaceDataset,
    ImageRegressionDataset,
    TripletDataset,
    image_to_chw,
    sample_batch_crop,
)
from perceptionist.training_stages.expert import project_landmarks
from tiny_perceptionist_runs import TINY_SIZES, tiny_config
from voiceface.datasets.validation.voxceleb3d import check_voxceleb3d


def test_positives_are_of_the_same_and_negatives_of_other_identities() -> None:
    labels = np.repeat(np.arange(4), [3, 1, 2, 4])
    features = [np.full((1000, 64), i, np.float32) for i in range(10)]
    triplets = TripletDataset(Utterances(labels, features), 800)
    visible: dict[int, set[int]] = {}
    for seed in range(60):
        for index in range(10):
            positive, negative = triplets.sample_partners(index, np.random.default_rng(seed))
            assert labels[positive] == labels[index] != labels[negative]
            assert (positive == index) == (index == 3), "another file wherever there is one"
            visible.setdefault(index, set()).add(negative)
    assert visible[0] == set(range(3, 10)), "every file of the others is drawn"


def test_published_triplets_take_the_next_file_and_any() -> None:
    labels = np.repeat(np.arange(2), 3)
    triplets = TripletDataset(Utterances(labels, [np.zeros((1000, 64), np.float32)] * 6), 800, "published")
    sampled = [[triplets.sample_partners(i, np.random.default_rng(s)) for i in range(6)] for s in range(80)]
    assert [positive for positive, _ in sampled[0]] == [1, 2, 3, 4, 5, 4]
    assert {negative for row in sampled for negative in [row[0][1]]} == set(range(6))


def test_the_shared_crop_spans_its_range_and_depends_on_the_step_alone() -> None:
    frames = tiny_config("supervised", "data.frames.min_crop=300", "data.frames.max_crop=302").data.frames
    result = [sample_batch_crop(frames, 1, step) for step in range(400)]
    assert {piece.stop - piece.start for piece in result} == {300, 301, 302}
    assert min(p.start for p in result) < 20 and max(p.stop for p in result) > 780
    assert result == [sample_batch_crop(frames, 1, step) for step in range(400)]


def test_images_are_normalised_as_the_networks_expect() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 255, 0, 51
    assert image_to_chw(image, 2)[:, 0, 0].tolist() == pytest.approx([1, -1, -0.6])
    assert image_to_chw(image, 2, mirrored=True)[:, 0, 1].tolist() == pytest.approx([1, -1, -0.6])
    one = FaceImages(np.zeros(1, np.int64), [image])
    sampled = ImageRegressionDataset(one, np.zeros((1, 62), np.float32), 2, published_preprocessing=True)
    blue, green, red = sampled.sample(0, np.random.default_rng(0))["face"][:, 0, 0]
    assert (red, green, blue) == pytest.approx((127.5 / 128, -127.5 / 128, (51 - 127.5) / 128))
    mirrored = [
        FaceDataset(one, 2).sample(0, np.random.default_rng(s))["face"][0, 0, 1] == 1 for s in range(100)
    ]
    assert 30 < sum(mirrored) < 70


def test_ground_truth_parameters_project_to_the_rendered_landmarks(train_dataset: VoiceFaceDataset) -> None:
    from voiceface.synthetic.camera import sample_render_params
    from voiceface.synthetic.identities import sample_identities
    from voiceface.synthetic.layout import build_settings

    settings = build_settings("tiny", **TINY_SIZES)
    sampled = sample_identities(np.array(settings.ids("train")), seed=settings.seed, rho=settings.rho)
    assert train_dataset.ground_truth is not None and train_dataset.ground_truth.image_parameters is not None
    result = project_landmarks(
        resolve_face_model(), torch.from_numpy(train_dataset.ground_truth.image_parameters)
    ).numpy()
    for row in (0, 5, 9):
        identity, image = divmod(row, settings.images)
        place = list(sampled.face_names).index(train_dataset.identities[identity])
        view = sample_render_params(sampled, place, image, nuisance=settings.nuisance)
        gap = np.linalg.norm(result[row, :2].T - 120 * view.landmarks, axis=1)
        assert gap.mean() < 2 and gap.max() < 6, "a camera with perspective is a few pixels off"


def test_true_scales_give_the_size_of_heads_in_images(train_dataset: VoiceFaceDataset) -> None:
    from perceptionist.face_models.synthetic_head import (
        EMBEDDED_HEAD,
        frontal_vertices,
        semantic_coefficients,
    )

    truth, model = train_dataset.ground_truth, resolve_face_model()
    assert truth is not None
    vertices = model.vertices(torch.from_numpy(truth.shape)).transpose(1, 2).numpy()
    expected = frontal_vertices(EMBEDDED_HEAD.model, semantic_coefficients(truth.shape))
    assert np.abs(truth.scale[:, None, None] * vertices - expected).max() < 1e-2  # pixels


def test_a_population_without_files_reads_as_a_written_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voiceface.commandline.arguments import data_folder
    from voiceface.synthetic.writer import write_population

    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "home"))
    few = {"num_identities": 4, "images": 2, "clips": 1, "clip_seconds": 0.5, "render_size": 24}
    root = write_population(tmp_path / "p", "tiny", workers=1, lists=False, progress=False, **few)
    folder = data_folder("population:tiny?people=4&images=2&clips=1&clip_seconds=0.5&image_size=24")
    one, other = (
        load_dataset(each, "train", resolve_face_model(), with_utterances=False) for each in (folder, root)
    )
    assert one.identities == other.identities and len(one.images) == len(other.images) > 1
    assert one.ground_truth is not None and other.ground_truth is not None
    assert one.ground_truth.image_parameters is not None
    assert np.array_equal(one.ground_truth.image_parameters, other.ground_truth.image_parameters)
    for row in range(len(one.images)):
        assert np.array_equal(one.images.read(row), other.images.read(row))


def test_a_written_population_reads_as_the_one_in_memory(
    tmp_path: Path, train_dataset: VoiceFaceDataset
) -> None:
    from voiceface.synthetic.writer import write_population

    few = TINY_SIZES | {"train": 2, "val": 1, "test": 1}
    root = write_population(tmp_path / "p", "tiny", workers=1, lists=False, progress=False, **few)
    read = load_dataset(root, "train", resolve_face_model())
    assert read.disclaimer == train_dataset.disclaimer and set(read.identities) < set(
        train_dataset.identities
    )
    for one, other in ((read, train_dataset),):
        assert one.ground_truth is not None and other.ground_truth is not None
        assert one.ratios is not None and other.ratios is not None
        assert (
            one.ground_truth.image_parameters is not None and other.ground_truth.image_parameters is not None
        )
        for label, name in enumerate(one.identities):
            same = other.identities.index(name)
            assert np.allclose(one.ratios[label], other.ratios[same], atol=1e-5)
            rows, expected = one.images.labels == label, other.images.labels == same
            assert np.allclose(
                one.ground_truth.image_parameters[rows],
                other.ground_truth.image_parameters[expected],
                atol=2e-3,
            )
            actual, yours = (
                {
                    side.utterances.read(int(i)).tobytes()
                    for i in np.flatnonzero(side.utterances.labels == place)
                }
                for side, place in ((one, label), (other, same))
            )
            assert actual == yours and len(actual) == 2
    assert read.utterances.read(0).shape == (1000, 64)
    with pytest.raises(ValueError, match="has no identities"):
        load_dataset(root, "tset", resolve_face_model())


def test_the_published_layout_is_loaded_with_ground_truth_and_held_out_set(
    tmp_path: Path, train_dataset: VoiceFaceDataset
) -> None:
    rng = np.random.default_rng(0)
    model = resolve_face_model()
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
    result = load_dataset(tmp_path, "train", model, truth=tmp_path / "fitted", in_memory=True)
    assert result.identities == ("Fay_One", "Gus_Two") and result.utterances.labels.tolist() == [0, 1]
    assert result.ground_truth is not None and result.ground_truth.shape[:, 0].tolist() == [0, 1]
    assert result.ground_truth.shape.shape == (2, 40) and result.images.read(1).shape == (64, 64, 3)
    small = load_dataset(tmp_path, "val", model)
    assert small.identities == ("Ann_Three",) and small.ratios is not None
    report = check_voxceleb3d(tmp_path, decode=True, progress=False)
    counts = {split: (count.identities, count.voices) for split, count in report.splits.items()}
    assert report.trainable and counts == {
        "train": (2, len(result.utterances)),
        "val": (1, len(small.utterances)),
    }
    assert report.splits["train"].faces == len(result.images)
    with pytest.raises(FileNotFoundError, match="neither a population"):
        load_dataset(tmp_path / "fbank", "train", model)
