"""Trial lists and identities whose files are missing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seeking_shape.config import SeekingShapeConfig
from voiceface.association.config import TEST_LISTS
from voiceface.association.data import identity_names, load_split, load_trial_lists, load_validation
from voiceface.association.evaluation import compute_all_pairs
from voiceface.datasets.trials.reading import write_trial_lists
from voiceface.datasets.trials.trial_list import TrialListError
from voiceface.embeddings.table import EmbeddingTable
from voiceface.runtime.config import load_config

Call = Callable[..., int]


@pytest.fixture
def incomplete(population: Path, tmp_path: Path) -> Path:
    """Copy the population with complete lists, but without the utterances of one identity per split."""
    root = tmp_path / "population"
    shutil.copytree(population, root)
    for split, names in (("val", ["match_v2f_2_val"]), ("test", TEST_LISTS)):
        corpus = load_split(root, split)
        write_trial_lists(root / "list_wav", load_trial_lists(root, names, corpus, generation_seed=3))
        shutil.rmtree(root / "wav" / corpus.records[0].identity.voice_id)
    return root


def test_trials_of_skipped_identities_are_skipped(incomplete: Path, population: Path) -> None:
    everybody, here = load_split(population, "test"), load_split(incomplete, "test", skip_missing=True)
    assert len(here) == len(everybody) - 1
    whole = load_trial_lists(population, TEST_LISTS, everybody, generation_seed=3)
    missing = {*everybody.records[0].voices, *everybody.records[0].faces}
    for before, after in zip(whole, load_trial_lists(incomplete, TEST_LISTS, here, on_missing="skip")):
        assert after.skipped > 0 and not missing & {*after.probes, *after.gallery}
        if before.kind != "verify":
            continue
        anchors, candidates = np.array(before.probes), np.array(before.gallery)
        kept = ~np.isin(anchors[before.probe_index], [*missing])
        kept &= ~np.isin(candidates[before.gallery_index[:, 0]], [*missing])
        assert after.skipped == (~kept).sum()
        assert after.labels.tolist() == before.labels[kept].tolist()


def test_validation_list_may_contain_skipped_identities(
    incomplete: Path, tiny_overrides: tuple[str, ...]
) -> None:
    config = load_config("main", SeekingShapeConfig, "seeking_shape", tiny_overrides)
    result = load_validation(incomplete, config, skip_missing=True)
    assert result.trial_list.skipped > 0 and {*result.trial_list.probes} <= {*result.corpus.voices}


def test_same_gender_lists_need_the_gender(population: Path, caplog: Any) -> None:
    corpus = load_split(population, "test")
    unknown = tuple(
        replace(record, identity=replace(record.identity, gender="")) for record in corpus.records
    )
    corpus = replace(corpus, records=unknown)
    with pytest.raises(TrialListError, match="gender"):
        load_trial_lists(population, TEST_LISTS, corpus, generation_seed=3)
    result = load_trial_lists(population, TEST_LISTS, corpus, generation_seed=3, skip_ungeneratable=True)
    assert [item.name for item in result] == [name for name in TEST_LISTS if "_g_" not in name]
    assert caplog.text.count("skipped") == 4
    with pytest.raises(TrialListError, match="none of 1"):
        load_trial_lists(population, TEST_LISTS[:1], corpus, generation_seed=3, skip_ungeneratable=True)


def test_all_pairs_need_three_identities(population: Path) -> None:
    corpus = load_split(population, "test").subset(range(2))
    voices, faces = (
        EmbeddingTable(items, np.eye(len(items), 8, dtype=np.float32))
        for items in (corpus.voices, corpus.faces)
    )
    with pytest.raises(ValueError, match="expected 3 identities with clips and images, found 2"):
        compute_all_pairs(corpus, voices, faces, population)


def test_validation_skips_corrupt_files_on_request(
    incomplete: Path, tiny_overrides: tuple[str, ...], train: Call, tmp_path: Path
) -> None:
    config = load_config("main", SeekingShapeConfig, "seeking_shape", tiny_overrides)
    victim = load_validation(incomplete, config, skip_missing=True).trial_list.gallery[0]
    (incomplete / "faces" / victim).write_bytes(b"no picture")
    words = ["training.max_steps=1", "training.validation_interval=1", "training.validation_start=1"]
    assert train(tmp_path / "run", "--missing", "skip", *words, data=incomplete) == 0
    assert '"val/matching_accuracy"' in (tmp_path / "run" / "log.jsonl").read_text()


def test_corpus_with_a_manifest_is_trained_on_and_evaluated(
    population: Path, train: Call, call: Call, tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    shutil.copytree(population / "wav", root / "sound")
    shutil.copytree(population / "faces", root / "stills")
    rows = []
    for split in ("train", "test"):
        for record in load_split(population, split).records:
            name = record.identity.voice_id
            rows += [f"{name},voice,sound/{item},,,,{split}" for item in record.voices]
            rows += [f"{name},face,stills/{item},,,,{split}" for item in record.faces]
    header = "identity,modality,path,gender,nationality,age,split"
    (root / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    assert train(tmp_path / "run", "training.max_steps=1", data=root) == 0
    words = ["--weights", tmp_path / "run", "--data", root, "--out", tmp_path / "out", "--workers", "1"]
    assert call("test", *words, "--generate-lists", "1") == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    measured = [entry["name"] for entry in result["lists"]]
    assert measured == [name for name in TEST_LISTS if "_g_" not in name]  # no gender is known
    assert result["leaked_identities"] == [] and (tmp_path / "out" / "report.html").is_file()


def test_skipped_identities_leave_no_gap_in_the_classes(population: Path, tmp_path: Path) -> None:
    root = tmp_path / "population"
    shutil.copytree(population, root)
    missing = identity_names(load_split(root, "train"))[1]
    shutil.rmtree(root / "faces" / missing)
    left = load_split(root, "train", skip_missing=True)
    assert left.labels == list(range(len(left))) and missing not in identity_names(left)
    assert "" not in identity_names(left)
