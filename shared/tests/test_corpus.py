"""Finding the files of a corpus, and the layouts that are recognised."""

import pytest
from voiceface.commands.lists import main as lists_command
from voiceface.datasets.corpus import CorpusError, corpus_from_manifest, discover_corpus, open_corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.layouts import find_files, is_inside_root
from voiceface.datasets.trials.cmpc import VERIFICATION_HEADER
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.datasets.trials.trial_list import identity_indices

HEADER = "VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set"
PEOPLE = [Identity("A", "id1", "A", "f", "X"), Identity("B", "id2", "B", "m", "X")]


def touch(root, *items):
    for item in items:
        (root / item).parent.mkdir(parents=True, exist_ok=True)
        (root / item).touch()


@pytest.fixture
def data(tmp_path):
    touch(
        tmp_path,
        "wav/id1/v-2/00001.wav",
        "wav/id1/v-2/00010.wav",
        "wav/id1/a/b/c/00001.npy",
        "wav/id2/v/1.wav",
    )
    touch(tmp_path, "faces/A/2.jpg", "faces/A/10.jpg", "faces/A/deep/er/1.jpg", "faces/B/1.jpg")
    return tmp_path


def test_files_are_sorted_at_any_depth_and_foreign_ones_ignored(data):
    touch(
        data,
        "wav/id1/notes.txt",
        "wav/id1/v-2/x.WAV",
        "faces/A/Thumbs.db",
        "faces/A/.3.part.jpg",
        "faces/A/1.jpeg",
    )
    corpus = discover_corpus(PEOPLE, data / "wav", data / "faces")
    assert corpus.records[0].voices == ("id1/a/b/c/00001.npy", "id1/v-2/00001.wav", "id1/v-2/00010.wav")
    assert corpus.records[0].faces == ("A/10.jpg", "A/2.jpg", "A/deep/er/1.jpg")
    assert corpus.labels == [0, 1] and corpus.names == ["A", "B"] and corpus.num_classes == 2
    assert corpus.voice_path("id2/v/1.wav") == data / "wav/id2/v/1.wav"
    assert corpus.get_identity_index("B/1.jpg") == 1
    more = discover_corpus(PEOPLE, data / "wav", data / "faces", image_suffixes=(".jpg", ".jpeg"))
    assert more.records[0].faces[0] == "A/1.jpeg"


def test_links_that_lead_back_up_end_the_walk(data):
    (data / "faces/A/loop").symlink_to(data / "faces/A")
    (data / "faces/A/other").symlink_to(data / "faces/B")
    items = find_files(data / "faces", "A", (".jpg",))
    assert items == ["A/10.jpg", "A/2.jpg", "A/deep/er/1.jpg", "A/other/1.jpg"]


def test_missing_folders_come_in_one_message_or_are_skipped(data):
    records = [*PEOPLE, *(Identity(f"N{i}", f"id9{i}", f"N{i}") for i in range(4))]
    with pytest.raises(FileNotFoundError, match=r"8 folders.*id90.*and 3 more"):
        discover_corpus(records, data / "wav", data / "faces")
    corpus = discover_corpus(records, data / "wav", data / "faces", on_missing="skip")
    assert len(corpus) == 2 and len(corpus.missing_folders) == 8
    with pytest.raises(FileNotFoundError, match="no folder of faces"):
        discover_corpus(records, data / "wav", data / "nowhere")


def test_of_rows_that_share_a_folder_the_last_owns_it(data):
    records = [PEOPLE[0], Identity("A", "id2", "A"), Identity("B", "id2", "B")]
    corpus = discover_corpus(records, data / "wav", data / "faces")
    assert corpus.labels == [0, 0, 1] and corpus.records[1].faces == corpus.records[0].faces
    assert corpus.get_identity_index("A/2.jpg") == 1 and corpus.get_identity_index("id2/v/1.wav") == 2
    assert corpus.faces.count("A/2.jpg") == 1
    with pytest.raises(CorpusError, match=r"C/1\.jpg"):
        corpus.get_identity_index("C/1.jpg")


def test_people_without_files_are_reported_and_can_be_left_out(data, caplog):
    (data / "faces/E").mkdir()
    touch(data, "wav/id3/1.wav")
    corpus = discover_corpus([*PEOPLE, Identity("E", "id3", "E")], data / "wav", data / "faces")
    assert corpus.without_faces == ["E"] and not corpus.without_voices and "E" in caplog.text
    assert corpus.with_both_modalities().names == ["A", "B"] and corpus.subset([1]).labels == [1]


def test_voices_may_lie_under_names(data):
    touch(data, "other/A/1.wav", "other/B/1.wav")
    corpus = discover_corpus(PEOPLE, data / "other", data / "faces", voice_folder="vggface1_id")
    assert corpus.records[1].voices == ("B/1.wav",)
    with pytest.raises(ValueError, match="voice_folder is 'name', expected one of voxceleb1_id, vggface1_id"):
        discover_corpus(PEOPLE, data / "other", data / "faces", voice_folder="name")
    with pytest.raises(FileNotFoundError, match=r"2 folders .*other/id1"):
        discover_corpus(PEOPLE, data / "other", data / "faces")


def test_lists_name_voices_by_the_folder_that_they_lie_in(data, capsys):
    (data / "wav").rename(data / "wave")
    touch(data, *(f"wav/{name}/AbCdEfGhIjK/0000{j}.wav" for name in "AB" for j in range(3)))
    for name in ("test", "train", "val"):
        touch(data, f"list_wav/vox1_{name}.csv")
        rows = "id1,A,f,X,dev\nid2,B,m,X,dev\n" if name == "test" else ""
        (data / f"list_wav/vox1_{name}.csv").write_text(f"{HEADER}\n{rows}")
    how = ["--voice-folder", "vggface1_id"]
    sampled = data / "list_wav/match_v2f_2_test.txt"
    words = ["generate", str(data), "--kind", "match", "--split", "test"]
    assert lists_command([*words, *how]) == 0
    corpus = open_corpus(data, "test", voice_folder="vggface1_id")
    found = read_trial_list(sampled, corpus)
    assert sorted(found.probes) == sorted(corpus.voices) and found.probes[0] == "A/AbCdEfGhIjK/00000.wav"
    by_file, by_table = (
        identity_indices(found.probes, corpus),
        identity_indices(found.probes, corpus.identities),
    )
    assert by_file.tolist() == by_table.tolist() == [0, 0, 0, 1, 1, 1]
    assert lists_command(["show", str(sampled), "--data", str(data), *how]) == 0
    assert "missing files 0" in capsys.readouterr().out
    assert lists_command(words) == 1 and "wav/id1" in capsys.readouterr().err


def test_verification_lists_by_name_lead_to_the_folder_of_the_clips(data):
    touch(data, "other/A/AbCdEfGhIjK/00007.wav", "other/B/1.wav")
    path = data / "veriflist_test_random_seenheard.txt"
    rows = "1,1,1,1,A/AbCdEfGhIjK_0000007.wav,A/LmNoPqRsTuV/0012375.jpg\n"
    path.write_text(f"{VERIFICATION_HEADER}\n{rows}")
    by_name = discover_corpus(PEOPLE, data / "other", data / "faces", voice_folder="vggface1_id")
    assert read_trial_list(path, by_name).probes == ["A/AbCdEfGhIjK/00007.wav"]
    assert read_trial_list(path, by_name.subset([0])).probes == ["A/AbCdEfGhIjK/00007.wav"]
    by_id = discover_corpus(PEOPLE, data / "wav", data / "faces")
    assert read_trial_list(path, by_id).probes == ["id1/AbCdEfGhIjK/00007.wav"]


def test_open_corpus_knows_split_tables(data):
    touch(data, "list_wav/x")
    (data / "list_wav/vox1_train.csv").write_text(f"{HEADER}\r\nid1,A,f,X,dev\r\n")
    (data / "list_wav/vox1_test.csv").write_text(f"{HEADER}\r\nid2,B,m,X,dev\r\n")
    assert (
        open_corpus(data, "train").names == ["A"] and open_corpus(data, "test").identities[0].split == "test"
    )
    assert open_corpus(data, None).names == ["A", "B"]
    with pytest.raises(FileNotFoundError, match=r"vox1_val\.csv"):
        open_corpus(data, "val")
    with pytest.raises(ValueError, match="dev"):
        open_corpus(data, "dev")


def test_open_corpus_knows_the_meta_table_and_the_frontal_set(data):
    (data / "faces").rename(data / "VGG_ALL_FRONTAL")
    meta = f"{HEADER.replace('_ID', ' ID')}\nid1,A,f,X,dev\nid2,B,m,X,dev\n".replace(",", "\t")
    (data / "vox1_meta.csv").write_text(meta)
    assert open_corpus(data, "val").names == ["A", "B"]  # by first letter
    touch(data, "Splits/x")
    (data / "Splits/identity_splits.txt").write_text("A 1 \nB 4 \n")
    assert open_corpus(data, "train").names == ["A"] and open_corpus(data, "test").names == ["B"]
    with pytest.raises(CorpusError, match="val"):
        open_corpus(data, "val")


def test_open_corpus_knows_a_manifest_and_given_roots(data):
    rows = ["identity,modality,path,gender,nationality,age,split", "P,voice,wav/id1/v-2/00001.wav,f,,,train"]
    rows += [
        "P,face,faces/A/2.jpg,,,,train",
        "Q,voice,wav/id2/v/1.wav,m,,,test",
        "Q,face,faces/B/1.jpg,,,,test",
    ]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    corpus = open_corpus(data, "train")
    assert corpus.names == ["P"] and corpus.face_path(corpus.records[0].faces[0]).is_file()
    assert corpus.get_identity_index("faces/A/2.jpg") == 0 and corpus_from_manifest(
        data / "manifest.csv"
    ).names == ["P", "Q"]
    with pytest.raises(CorpusError, match="val"):
        open_corpus(data, "val")
    (data / "table.csv").write_text(f"{HEADER}\nid2,B,m,X,dev\n")
    elsewhere = open_corpus(
        data, "train", identities=data / "table.csv", voice_root=data / "wav", face_root=data / "faces"
    )
    assert elsewhere.names == ["B"]


@pytest.mark.parametrize("item", ["../a", "/a", "a/../../b", "a\\b", "C:/a", "", "a/..", ".."])
def test_paths_that_leave_the_root_are_noticed(item):
    assert not is_inside_root(item)
    assert is_inside_root("a..b/c...jpg") and is_inside_root("..a/b")
