"""Populations of earlier versions: their files and truth are read, nothing is drawn or spoken for them."""

import json
import shutil

import numpy as np
import pytest
from voiceface.datasets.corpus import open_corpus
from voiceface.synthetic import writer
from voiceface.synthetic.dataset import PopulationDataset
from voiceface.synthetic.ground_truth import read_ground_truth, reference_embeddings
from voiceface.synthetic.head.geometry_truth import build_face_ground_truth, read_face_ground_truth
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import POPULATION_FILE, PopulationError, PopulationSettings, build_settings
from voiceface.synthetic.mavceleb import write_mavceleb
from voiceface.synthetic.talking_heads import render_talking_video
from voiceface.synthetic.talking_heads.scenes import Scene

EARLIER = "voice 1, image 1"
REMEDY = f"generator '{EARLIER}'; .* use the files that are there, or write a new population"


@pytest.fixture
def earlier(tiny_population, tmp_path):
    """A finished population whose truth names an earlier version."""
    root = shutil.copytree(tiny_population, tmp_path / "earlier")
    state = json.loads((root / POPULATION_FILE).read_text())
    state["settings"] |= {"generator": EARLIER, "face_gain": 1.0}
    (root / POPULATION_FILE).write_text(json.dumps(state))
    return root


def settings_of(root):
    return PopulationSettings(**read_ground_truth(root).settings)


def test_recordings_images_and_truth_are_read(earlier, tiny_population, caplog):
    corpus = open_corpus(earlier, "test")
    assert corpus.records == open_corpus(tiny_population, "test").records
    tables = reference_embeddings(read_ground_truth(earlier), corpus)
    assert len(tables["oracle upper bound"][0].vectors) == len(corpus.voices)
    names = [record.identity.face_id for record in corpus.records]
    usual = read_face_ground_truth(tiny_population, names)
    assert not caplog.records
    truth = read_face_ground_truth(earlier, names)
    assert f"people of an earlier version of the population ({EARLIER})" in caplog.text
    assert np.array_equal(truth.factors, usual.factors) and np.array_equal(truth.shape, usual.shape)
    assert settings_of(earlier).generator == EARLIER and settings_of(earlier).face_gain == 1.0


def test_skin_of_earlier_versions_does_not_go_with_the_ancestry_of_the_shape(earlier):
    names = [record.identity.face_id for record in open_corpus(earlier, "train").records]
    truth = read_face_ground_truth(earlier, names)
    people = sample_identities(truth.ids, seed=settings_of(earlier).seed, rho=settings_of(earlier).rho)
    assert not np.allclose(truth.skin, build_face_ground_truth(people).skin, atol=0.02)
    people.shape_nuisance[:] = 0.0
    order = np.argsort(build_face_ground_truth(people).skin.sum(axis=1))
    assert np.array_equal(np.argsort(truth.skin.sum(axis=1)), order), "tone alone"


def test_nothing_is_written_into_an_earlier_population(earlier):
    before = {path: path.stat().st_mtime_ns for path in earlier.rglob("*")}
    next(earlier.glob("faces/*/*.jpg")).unlink()
    with pytest.raises(PopulationError, match=f"population.json: a population of {REMEDY}"):
        writer.write_population(earlier, "tiny", workers=1, progress=False)
    with pytest.raises(PopulationError, match=REMEDY):
        writer.write_population(earlier, settings_of(earlier), workers=1, progress=False)
    after = {path: path.stat().st_mtime_ns for path in earlier.rglob("*")}
    changed = {path for path, time in after.items() if before[path] != time}
    assert all(path.is_dir() for path in changed) and len(after) == len(before) - 1


def test_no_person_of_an_earlier_version_is_drawn_or_speaks(earlier, tmp_path):
    settings = settings_of(earlier)
    with pytest.raises(PopulationError, match=REMEDY):
        PopulationDataset(settings, "test", workers=1, progress=False)
    with pytest.raises(PopulationError, match=REMEDY):
        render_talking_video(tmp_path / "a.mp4", [Scene(1.0)], population=settings)
    with pytest.raises(PopulationError, match=REMEDY):
        write_mavceleb(tmp_path / "mavceleb", settings, "v1")
    assert not (tmp_path / "mavceleb").exists() and not (tmp_path / "a.mp4").exists()
    with pytest.raises(PopulationError, match="other voices: generator is 'voice 1' there, 'voice 3' here"):
        writer.write_population(tmp_path / "new", build_settings("tiny"), voices_from=earlier)
