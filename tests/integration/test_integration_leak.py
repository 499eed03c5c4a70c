"""Without coupling nothing links a voice to a face of one sex, and a look that would find it finds none.

What a leak could run through: the factors and the nuisance of a person, the files (sizes, loudness,
brightness, colours), names and their order, ties in the evaluation.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.evaluation.all_pairs import all_pairs_metrics, evaluate_all_pairs
from voiceface.synthetic.ground_truth import read_ground_truth
from voiceface.synthetic.identities import Identities, sample_identities
from voiceface.synthetic.writer import write_population

Array = npt.NDArray[np.float64]
SAME_GENDER_KEYS = ("g_v2f", "g_f2v", "auc_g")


def linear_map_matching(
    voices: Array, faces: Array, sex: npt.NDArray[Any], train: npt.NDArray[Any], strength: float = 1.0
) -> dict[str, tuple[float, float]]:
    """How well the best linear map from voices to faces, learnt on `train`, matches the other people.

    Both sides are freed of the sex first, so that what is found links people of one sex.
    """
    sides = []
    for side in (voices, faces):
        side = side.astype(np.float64)
        for value in (0, 1):
            side[sex == value] -= side[train & (sex == value)].mean(axis=0)
        sides.append(side / (side[train].std(axis=0) + 1e-9))
    left, right = sides
    gram = left[train].T @ left[train] + strength * np.eye(left.shape[1]) * train.sum()
    map_ = np.linalg.solve(gram, left[train].T @ right[train])
    guess, known = left @ map_, right
    explained = (1 - ((guess - known)[train] ** 2).mean(axis=0)).clip(min=1e-6)
    distance = ((guess[~train][:, None] - known[~train][None]) ** 2) @ explained
    return all_pairs_metrics(-distance, sex[~train])


def is_at_chance(figures: dict[str, tuple[float, float]]) -> bool:
    return all(abs(figures[name][0] - 0.5) < 4 * figures[name][1] for name in SAME_GENDER_KEYS)


def voice_variables(people: Identities) -> Array:
    """Everything that a person's voice is made from."""
    plain = [people.speaking_rate, people.pitch_range, people.vowel_space, people.height]
    rows = [people.voice_factors, np.stack(plain, axis=1), people.vowel_offset.reshape(len(people), -1)]
    return np.hstack([*rows, people.vowel_shift.reshape(len(people), -1)])


def face_variables(people: Identities) -> Array:
    """Everything that a person's face is made from."""
    return np.hstack([people.face_factors, people.shape_nuisance, people.skin_shift[:, None]])


# the truth


def build_identities(rho: float, count: int = 900) -> tuple[Identities, npt.NDArray[np.bool_]]:
    everyone = sample_identities(range(count), rho=rho)
    return everyone, np.arange(count) < 2 * count // 3


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_factors_and_nuisance_say_nothing_without_coupling(strength: float) -> None:
    everyone, train = build_identities(0.0)
    sex = everyone.sex
    assert is_at_chance(
        linear_map_matching(voice_variables(everyone), face_variables(everyone), sex, train, strength)
    )
    nuisance = voice_variables(everyone)[:, 8:]
    assert is_at_chance(linear_map_matching(nuisance, everyone.shape_nuisance, sex, train, strength))
    products = everyone.voice_factors @ everyone.face_factors.T
    assert is_at_chance(all_pairs_metrics(products, sex))


def test_the_same_look_finds_a_coupling_of_any_size() -> None:
    for rho, least in ((1.0, 0.95), (0.7, 0.6), (0.3, 0.52)):
        everyone, train = build_identities(rho)
        figures = linear_map_matching(
            voice_variables(everyone), face_variables(everyone), everyone.sex, train, 0.01
        )
        assert min(figures[name][0] for name in SAME_GENDER_KEYS) > least, rho
        assert not is_at_chance(figures), rho
    everyone, _ = build_identities(1.0)
    distance = ((everyone.voice_factors[:, None] - everyone.face_factors[None]) ** 2).sum(axis=2)
    assert all(all_pairs_metrics(-distance, everyone.sex)[name][0] == 1 for name in SAME_GENDER_KEYS)


def test_only_the_factors_cross_when_everything_is_shared() -> None:
    everyone, train = build_identities(1.0)
    assert is_at_chance(
        linear_map_matching(voice_variables(everyone)[:, 12:], everyone.shape_nuisance, everyone.sex, train)
    )


# the files


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], tuple[Path, Corpus]]:
    """Populations of 120 people, one short clip and one small picture each; the voices are the same files."""
    roots: dict[float, Path] = {}
    sizes = {"train": 60, "val": 0, "test": 60, "clips": 1, "images": 1, "clip_seconds": 0.6}

    def write(rho: float) -> tuple[Path, Corpus]:
        if rho not in roots:
            other = next(iter(roots.values()), None)
            out = tmp_path_factory.mktemp("leak") / "people"
            how: dict[str, Any] = {"voices_from": other, "lists": False, "workers": 1, "progress": False}
            roots[rho] = write_population(out, "tiny", rho=rho, render_size=32, **how, **sizes)
        return roots[rho], open_corpus(roots[rho], None)

    return write


def voice_file_statistics(path: Path) -> Array:
    """Loudness and coarse spectrum of a clip, and the size of its file."""
    from voiceface.audio.loading import load_audio

    wave = load_audio(path, scale="unit")
    power = np.abs(np.fft.rfft(wave)) ** 2
    bands = [band.mean() for band in np.array_split(power[: len(power) // 2], 40)]
    return np.array([path.stat().st_size, wave.std(), np.abs(wave).max(), *np.log(np.array(bands) + 1e-9)])


def image_file_statistics(path: Path) -> Array:
    """Coarse picture, mean colours, and the size of the file."""
    from voiceface.images.loading import load_image

    image = load_image(path).astype(np.float64)
    coarse = image.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)).mean(axis=2)
    return np.array([path.stat().st_size, image.std(), *image.mean(axis=(0, 1)), *coarse.ravel()])


def test_files_say_nothing_without_coupling(written: Callable[[float], tuple[Path, Corpus]]) -> None:
    root, corpus = written(0.0)
    sex = np.array([person.identity.gender == "m" for person in corpus.records], np.int64)
    voices = np.stack(
        [voice_file_statistics(corpus.voice_path(person.voices[0])) for person in corpus.records]
    )
    faces = np.stack([image_file_statistics(corpus.face_path(person.faces[0])) for person in corpus.records])
    train = np.arange(len(corpus)) % 3 != 0
    assert is_at_chance(linear_map_matching(voices, faces, sex, train))
    # Positive control: what the voices are made from can be read off the same pictures when all is shared.
    root, coupled = written(1.0)
    faces = np.stack(
        [image_file_statistics(coupled.face_path(person.faces[0])) for person in coupled.records]
    )
    truth = read_ground_truth(root).select([person.identity.face_id for person in coupled.records])
    figures = linear_map_matching(faces, truth.voice_factors, sex, train)
    assert figures["auc_g"][0] > 0.5 + 4 * figures["auc_g"][1], figures["auc_g"]


def test_names_counts_and_times_do_not_differ(written: Callable[[float], tuple[Path, Corpus]]) -> None:
    (_, without), (_, coupled) = written(0.0), written(1.0)
    for mine, other in zip(without.records, coupled.records, strict=True):
        assert (mine.identity.voice_id, mine.voices, mine.faces) == (
            other.identity.voice_id,
            other.voices,
            other.faces,
        )
        assert len(mine.voices) == len(mine.faces) == 1
        pair = [corpus.voice_path(mine.voices[0]).read_bytes() for corpus in (without, coupled)]
        assert pair[0] == pair[1]


def test_evaluation_gives_no_one_an_advantage_of_place() -> None:
    sex = np.arange(60) % 2
    same = np.ones((60, 4))
    by_sex = np.eye(2)[sex]
    for vectors in (same, by_sex):
        figures = evaluate_all_pairs(vectors, vectors, sex)
        assert [figures[name].value for name in SAME_GENDER_KEYS] == [0.5] * 3
    order = np.random.default_rng(0).permutation(60)
    some = np.random.default_rng(1).normal(size=(2, 60, 4))
    first, second = (
        evaluate_all_pairs(*some, sex),
        evaluate_all_pairs(some[0][order], some[1][order], sex[order]),
    )
    assert all(first[name].value == pytest.approx(second[name].value, abs=1e-12) for name in first)


# the whole method


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_the_trained_model_knows_what_there_is_to_know(rho: float, tmp_path: Path) -> None:
    """`quick` from files to figures: minutes. Chance within the sex at rho 0; at rho 1 well above it."""
    from seeking_shape.__main__ import COMMANDS
    from voiceface.commandline.dispatch import dispatch

    def call(*words: str | Path) -> None:
        assert dispatch("seeking_shape", COMMANDS, [str(word) for word in words]) == 0

    data, run = tmp_path / "people", tmp_path / "runs"
    write_population(data, "quick", rho=rho, lists=False)
    call("train", "--cfg", "quick_reweight", "--data", data, "--out", run / "first", "--device", "cpu")
    call("extract_id_weight", run / "first")
    weights = run / "first" / "id_weight.safetensors"
    words = ["--id-weights", weights, "--device", "cpu"]
    call("train", "--cfg", "quick", "--data", data, "--out", run / "main", *words)
    call(
        "test", "--weights", run / "main", "--data", data, "--out", tmp_path / "test", "--generate-lists", "1"
    )
    figures = json.loads((tmp_path / "test" / "all_pairs.json").read_text())
    for way in figures.values():
        for name in SAME_GENDER_KEYS:
            if rho == 0:
                assert abs(way[name]["value"] - 0.5) < 4 * way[name]["standard_error"], (name, way[name])
    if rho == 1:
        single = figures["single"]
        assert min(single[name]["value"] for name in ("g_v2f", "g_f2v")) >= 0.70
        assert min(single[name]["value"] for name in ("u_v2f", "u_f2v")) >= 0.82
