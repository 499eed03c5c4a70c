"""Drawn evaluation lists: the published rule, its statistics, and what is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from voiceface.commands.lists import main
from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.coverage import check_trial_items, shared_attribute_rates
from voiceface.datasets.trials.reading import read_trial_list, to_published_bytes, write_trial_list
from voiceface.datasets.trials.sampling import generate_trial_list, generate_trial_lists
from voiceface.datasets.trials.trial_list import TrialListError, identity_indices, with_labels


def make(clips, faces, genders=None, nations=None, ages=None):
    """A corpus with so many clips and faces per person."""
    records = []
    genders, nations = genders or "f" * len(clips), nations or "X" * len(clips)
    for k, (voices, images) in enumerate(zip(clips, faces)):
        age = None if ages is None else float(ages[k])
        who = Identity(f"P{k}", f"id{k}", f"P{k}", genders[k], nations[k], "test", age)
        items = tuple(f"id{k}/v/{i:05d}.wav" for i in range(voices))
        records.append(IdentityRecord(who, k, items, tuple(f"P{k}/{i:08d}.jpg" for i in range(images))))
    return Corpus(tuple(records), Path("voices"), Path("faces"))


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    genders = ["m" if x else "f" for x in rng.random(24) < 0.6]
    nations = [("X", "Y", "Z")[i] for i in rng.integers(3, size=24)]
    return make(rng.integers(5, 60, 24), rng.integers(5, 40, 24), genders, nations, rng.integers(20, 60, 24))


def owners(drawn, corpus):
    """(L,) person of the anchors and (L, N) of the candidates."""
    probe = identity_indices(drawn.probes, corpus.identities)[drawn.probe_index]
    return probe, identity_indices(drawn.gallery, corpus.identities)[drawn.gallery_index]


@pytest.mark.parametrize("direction", ["v2f", "f2v"])
@pytest.mark.parametrize("count", [2, 5, 10])
def test_right_candidate_first_and_wrong_identities_differ(corpus, direction, count):
    sampled = generate_trial_list(corpus, "match", direction, num_candidates=count, seed=1)
    probe, candidate = owners(sampled, corpus)
    assert (candidate[:, 0] == probe).all() and candidate.shape[1] == count == sampled.num_candidates
    assert all(len(set(row)) == count for row in candidate.tolist())
    files = corpus.voices if direction == "v2f" else corpus.faces
    assert sampled.probes == files and len(sampled) == 3 * len(files)
    assert sampled.probe_index.tolist() == np.repeat(np.arange(len(files)), 3).tolist()
    assert sampled.name == f"match_{direction}_{count}_test" and check_trial_items(sampled, corpus) is sampled


@pytest.mark.parametrize("stratum", ["G", "N", "A", "GN", "GNA"])
@pytest.mark.parametrize("kind", ["match", "verify"])
def test_stratum_restricts_every_wrong_candidate(corpus, stratum, kind):
    sampled = generate_trial_list(corpus, kind, "v2f", stratum=stratum, seed=2)
    names = {"G": "gender", "N": "nationality", "A": "age group"}
    shares = shared_attribute_rates(sampled, corpus)
    assert all(shares[names[letter]] == 1 for letter in stratum)
    left = sampled.provenance["skipped"].get("probes without an eligible impostor", 0)
    assert len(sampled.probes) + left == len(corpus.voices) and (stratum != "GNA" or left)


def test_verification_labels_are_those_of_the_identities(corpus):
    sampled = generate_trial_list(corpus, "verify", "f2v", seed=3)
    assert (with_labels(sampled, corpus.identities).labels == sampled.labels).all()
    spread = (0.25 / len(sampled)) ** 0.5
    assert abs(sampled.labels.mean() - 0.5) < 4 * spread
    per_anchor = np.bincount(sampled.labels.reshape(-1, 3).sum(1), minlength=4) / (len(sampled) / 3)
    assert (
        np.abs(per_anchor - np.array([1, 3, 3, 1]) / 8).max() < 0.07
    )  # labels of a line do not follow its place


def test_a_face_candidate_is_the_one_picture_paired_with_a_clip():
    sampled = generate_trial_list(make([3] * 20, [50] * 20), "match", "v2f", trials_per_probe=40, seed=4)
    _, candidate = owners(sampled, make([3] * 20, [50] * 20))
    for record in range(20):
        used = {sampled.gallery[i] for i in sampled.gallery_index[candidate == record]}
        assert len(used) <= 3  # as many as the person has clips, over right and wrong alike


@pytest.mark.parametrize("count", [2, 4])
def test_wrong_identities_come_in_proportion_to_their_clips(count):
    clips = np.array([4, 8, 16, 32, 40])
    corpus = make(clips, [2] * 5)
    sampled = generate_trial_list(corpus, "match", "f2v", num_candidates=count, trials_per_probe=4000, seed=5)
    probe, candidate = owners(sampled, corpus)
    first = candidate[probe == 0, 1]
    share = np.bincount(first, minlength=5) / len(first)
    expected = np.array([0, *(clips[1:] / clips[1:].sum())])
    assert np.abs(share - expected).max() < 4 * (0.25 / len(first)) ** 0.5
    own = [sampled.gallery[i] for i in sampled.gallery_index[probe == 0, 0]]
    assert set(own) == set(corpus.records[0].voices)
    spread = np.bincount(sampled.gallery_index[probe == 1, 0])
    assert spread[spread > 0].min() > 0.8 * 8000 / 8  # clips of one identity are uniform


def test_share_of_same_gender_is_the_one_that_the_rule_implies(corpus):
    sampled = generate_trial_list(corpus, "match", "v2f", trials_per_probe=60, seed=6)
    clips = np.array([len(record.voices) for record in corpus.records], float)
    male = np.array([record.identity.gender == "m" for record in corpus.records])
    same = np.array([(clips[male == male[k]].sum() - clips[k]) / (clips.sum() - clips[k]) for k in range(24)])
    expected = (same * clips).sum() / clips.sum()
    assert shared_attribute_rates(sampled, corpus)["gender"] == pytest.approx(
        expected, abs=4 * (0.25 / len(sampled)) ** 0.5
    )


def test_seed_and_name_decide_every_byte(corpus):
    one, two = (to_published_bytes(generate_trial_list(corpus, "match", "v2f", seed=7)) for _ in range(2))
    assert one == two != to_published_bytes(generate_trial_list(corpus, "match", "v2f", seed=8))
    val = generate_trial_list(corpus, "match", "v2f", seed=7, split="val")
    assert to_published_bytes(val) != one and val.name == "match_v2f_2_val"
    known = generate_trial_list(make([2, 1, 1], [1, 2, 1]), "match", "v2f", trials_per_probe=1, seed=0)
    rows = [" ".join(known.gallery[i] for i in row) for row in known.gallery_index]
    short = [row.replace("0000000", "") for row in rows]  # when these change, so must RULE_VERSION
    assert short == ["P0/0.jpg P1/0.jpg", "P0/0.jpg P1/0.jpg", "P1/0.jpg P2/0.jpg", "P2/0.jpg P0/0.jpg"]


def test_rows_that_share_a_folder_do_not_meet_as_wrong_candidates():
    base = make([3, 3, 3], [2, 2, 2])
    twin = IdentityRecord(
        Identity("P0", "id9", "P0", "f", "X", "test"), 0, ("id9/v/1.wav",), base.records[0].faces
    )
    corpus = Corpus((*base.records, twin), Path("v"), Path("f"))
    sampled = generate_trial_list(corpus, "match", "v2f", trials_per_probe=50, seed=9)
    probe, candidate = owners(sampled, corpus)
    assert (candidate[:, 0] == probe).all() and 0 not in probe
    assert sampled.provenance["skipped"] == {"probes without the other modality": 3}


def test_retrieval_holds_every_file(corpus):
    sampled = generate_trial_list(corpus, "retrieval", "f2v", seed=0)
    assert sampled.name == "reterival_f2v_test" and sampled.probes == corpus.faces
    assert sampled.gallery == corpus.voices and sampled.probe_index is None
    partly = generate_trial_list(make([2, 0, 1], [1, 1, 1]), "retrieval", "f2v", seed=0)
    assert partly.probes == ["P0/00000000.jpg", "P2/00000000.jpg"]


def test_what_cannot_be_drawn_is_said(corpus):
    with pytest.raises(TrialListError, match="age group"):
        generate_trial_list(make([2, 2], [2, 2]), "match", "v2f", stratum="A", seed=0)
    with pytest.raises(TrialListError, match="no identity has 2 other"):
        generate_trial_list(make([2, 2], [2, 2]), "match", "v2f", num_candidates=3, seed=0)
    with pytest.raises(TrialListError, match="both clips and images"):
        generate_trial_list(make([2, 0], [0, 2]), "match", "v2f", seed=0)
    with pytest.raises(TrialListError, match="stratum 'Q'"):
        generate_trial_list(corpus, "match", "v2f", stratum="Q", seed=0)
    with pytest.raises(TrialListError, match="seed"):
        generate_trial_list(corpus, "match", "v2f", seed=-1)


def test_the_usual_sets(corpus, tmp_path, caplog):
    lists = generate_trial_lists(corpus, 0)
    names = [sampled.name for sampled in lists]
    assert len(names) == 10 and names[0] == "match_v2f_2_test" and names[-1] == "reterival_f2v_test"
    assert "verify_g_f2v_test" in names and "match_g_f2v_2_test" in names
    assert [sampled.name for sampled in generate_trial_lists(corpus, 0, "val")] == [
        "match_v2f_2_val",
        "match_g_v2f_2_val",
    ]
    couple = generate_trial_lists(make([2, 2], [2, 2], "fm"), 0, "val")
    assert [sampled.name for sampled in couple] == ["match_v2f_2_val"] and "match_g_v2f_2_val" in caplog.text


def test_own_lists_are_marked_as_such(corpus, tmp_path):
    sampled = generate_trial_list(corpus, "match", "v2f", seed=1)
    write_trial_list(tmp_path / f"{sampled.name}.txt", sampled)
    again = read_trial_list(tmp_path / f"{sampled.name}.txt")
    assert again.is_generated and again.provenance["seed"] == 1 and again.sha256 == sampled.sha256
    record = json.loads((tmp_path / "lists.json").read_text())
    assert record["lists"][sampled.name]["sha256"] == sampled.sha256 and "labelled" in record["note"]
    old = (tmp_path / f"{sampled.name}.txt").read_bytes()
    write_trial_list(tmp_path / f"{sampled.name}.txt", generate_trial_list(corpus, "match", "v2f", seed=2))
    (tmp_path / f"{sampled.name}.txt").write_bytes(old)  # as after a kill between record and list
    assert read_trial_list(tmp_path / f"{sampled.name}.txt").is_generated
    (tmp_path / f"{sampled.name}.txt").write_text("id0/v/1.wav P0/1.jpg P1/1.jpg\n")
    assert not read_trial_list(tmp_path / f"{sampled.name}.txt").is_generated


def test_command_draws_describes_and_does_not_replace_foreign_lists(tmp_path, capsys):
    rows = ["identity,modality,path,gender,nationality,age,split"]
    for k in range(8):
        gender, split = "fm"[k // 2 % 2], "test" if k < 4 else "val"
        rows += [f"p{k},voice,{k}/{i}.wav,{gender},,,{split}" for i in range(3)]
        rows += [f"p{k},face,{k}/{i}.jpg,{gender},,,{split}" for i in range(2)]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert main(["generate", str(tmp_path), "--seed", "5"]) == 0
    lists = sorted(path.name for path in (tmp_path / "list_wav").glob("*.txt"))
    assert len(lists) == 12 and "12 probes" in capsys.readouterr().out
    show = [
        "show",
        str(tmp_path / "list_wav/verify_g_f2v_test.txt"),
        "--data",
        str(tmp_path),
        "--split",
        "test",
    ]
    assert main(show) == 0
    text = capsys.readouterr().out
    assert "generated list, seed 5" in text and "positive" in text and "same gender" in text
    assert main(["generate", str(tmp_path), "--seed", "6"]) == 0  # own lists may be replaced
    (tmp_path / "list_wav/match_v2f_2_val.txt").write_text("4/0.wav 4/0.jpg 5/0.jpg\n")
    assert main(["generate", str(tmp_path)]) == 1 and "--force" in capsys.readouterr().err
    assert main(["generate", str(tmp_path), "--force", "--gzip", "--split", "val"]) == 0
    one = ["generate", str(tmp_path), "--kind", "match", "--candidates", "4", "--split", "test", "--out"]
    assert main([*one, str(tmp_path / "own")]) == 0 and (tmp_path / "own/match_v2f_4_test.txt").is_file()
    assert main(["generate"]) == 2 and main(["generate", str(tmp_path / "none")]) == 1
