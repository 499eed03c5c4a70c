"""Tables of features: made elsewhere, of FOP's programs, and of a whole data set."""

import json
from dataclasses import replace

import numpy as np
import pytest
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.identities import Identity
from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders import Encoder, EncoderError, EncoderInfo, FeatureSet, load_encoder, read_fop_csv
from voiceface.encoders.overlap import training_overlap
from voiceface.encoders.records import format_encoders, is_same_encoder, stated_encoders

INFOS = (
    EncoderInfo("loudness", "voice", 2, "free", trained_on=("voxceleb1",), fingerprint="a"),
    EncoderInfo(
        "colour", "face", 3, "free", trained_on=("vggface", "voxceleb1"), disclaimer="d", fingerprint="b"
    ),
)


class Loudness(Encoder):
    """Mean and deviation of the samples."""

    def prepare(self, array):
        return np.array([array.mean(), array.std()], np.float32)

    def encode_batch(self, inputs):
        return inputs


class Colour(Encoder):
    """Mean colour."""

    def prepare(self, array):
        return np.float32(array).mean((0, 1))

    def encode_batch(self, inputs):
        return inputs


@pytest.fixture
def features():
    people = (
        Identity("Ann", "Ann", "Ann", "f", "Chile", "train", 31.0),
        Identity("Bo", "Bo", "Bo", "m", "", "train"),
        Identity("Cy", "Cy", "Cy", "", "Peru", "val"),
    )
    rng = np.random.default_rng(0)
    return FeatureSet(
        rng.normal(size=(4, 2)).astype(np.float32),
        rng.normal(size=(3, 3)).astype(np.float32),
        np.array([0, 2, 0, 1]),
        np.array([2, 0, 1]),
        people,
        ("v/0.wav", "v/1.wav", "v/2.wav", "v/3.wav"),
        ("f/0.jpg", "f/1.jpg", "f/2.jpg"),
        *INFOS,
    )


def assert_same_rows(first, second):
    """The same features of the same people and files; identities may be numbered in another order."""
    for name in ("voice", "face"):
        rows = [
            dict(
                zip(
                    getattr(each, f"{name}_files"),
                    zip(
                        getattr(each, f"{name}s").tolist(),
                        [each.people[k] for k in getattr(each, f"{name}_identities")],
                    ),
                )
            )
            for each in (first, second)
        ]
        assert rows[0] == rows[1]


def test_a_feature_set_comes_back_from_its_folder(features, tmp_path):
    features.save(tmp_path / "set")
    loaded = FeatureSet.load(tmp_path / "set")
    assert_same_rows(features, loaded)
    assert loaded.voice_encoder == INFOS[0] and loaded.face_encoder == INFOS[1]
    assert loaded.encoders == ("loudness", "colour") and loaded.disclaimers == ("d",)
    assert loaded.trained_on == ("voxceleb1", "vggface")
    assert {name: age for name, age in zip(loaded.identities, loaded.ages)}["Ann"] == 31
    features.save(tmp_path / "again")
    for name in ("voices.npz", "faces.npz", "identities.csv"):
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_ids_of_voxceleb_come_back_and_warn_of_contaminated_figures(features, tmp_path):
    people = [replace(each, voice_id=f"id1027{row}") for row, each in enumerate(features.people)]
    replace(features, people=tuple(people)).save(tmp_path)
    loaded = FeatureSet.load(tmp_path)
    assert {each.name: each.voice_id for each in loaded.people} == {
        "Ann": "id10270",
        "Bo": "id10271",
        "Cy": "id10272",
    }
    assert any("VoxCeleb1" in text for text in training_overlap([INFOS[0]], "", loaded.people))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"name": "moved"}, True),
        ({"fingerprint": "other"}, False),
        ({"dimension": 9}, False),
        ({"fingerprint": ""}, True),
        ({"fingerprint": "", "name": "other"}, False),
        ({"fingerprint": "", "name": "table:a.npz"}, None),
    ],
)
def test_whether_features_are_of_one_encoder(changes, same):
    known = EncoderInfo("a", "voice", 2, fingerprint="f")
    other = replace(known, **changes)
    assert is_same_encoder(known, other) is same and is_same_encoder(other, known) is same


def test_a_table_of_two_encoders_of_one_modality_is_refused(features, tmp_path):
    features.save(tmp_path)
    two = format_encoders([INFOS[0], replace(INFOS[0], name="second", fingerprint="other")])
    replace(features.voice_table(), encoder=two).save(tmp_path / "voices.npz")
    with pytest.raises(EncoderError, match=r"two encoders of voices, .* and second, expected one"):
        FeatureSet.load(tmp_path)


def test_splits_and_subsets_renumber_people(features):
    training = features.split("train")
    assert training.identities == ("Ann", "Bo") and training.genders == ("f", "m")
    assert training.voice_files == ("v/0.wav", "v/2.wav", "v/3.wav")
    assert training.voice_identities.tolist() == [0, 0, 1] and training.face_identities.tolist() == [0, 1]
    turned = features.subset([2, 0])
    assert turned.nationalities == ("Peru", "Chile") and turned.face_identities.tolist() == [0, 1]
    assert np.array_equal(turned.faces, features.faces[[0, 1]])
    with pytest.raises(EncoderError, match=r"'test' \(found: train, val\)"):
        features.split("test")
    assert features.subset([0, 1]).with_both_modalities().identities == ("Ann", "Bo")


def test_what_does_not_belong_together_is_refused(features, tmp_path):
    features.save(tmp_path)
    manifest = (tmp_path / "identities.csv").read_text()
    (tmp_path / "identities.csv").write_text(manifest.replace("v/1.wav", "v/7.wav"))
    with pytest.raises(
        EncoderError, match=r"1 of 4 files of .*voices.npz are not in identities.csv.*v/1.wav"
    ):
        FeatureSet.load(tmp_path)
    (tmp_path / "identities.csv").unlink()
    with pytest.raises(EncoderError, match=r"no identities\.csv"):
        FeatureSet.load(tmp_path)
    (tmp_path / "identities.csv").write_text(manifest.replace("train", "test", 1))
    with pytest.raises(EncoderError, match="Ann is in the splits 'test' and 'train', expected one split"):
        FeatureSet.load(tmp_path)
    (tmp_path / "identities.csv").write_text(manifest)
    features.face_table().save(tmp_path / "voices.npz")
    with pytest.raises(EncoderError, match="features of faces, expected voices"):
        FeatureSet.load(tmp_path)
    (tmp_path / "voices.npz").write_bytes(b"PK damaged")
    with pytest.raises(EncoderError, match=r"voices\.npz"):
        FeatureSet.load(tmp_path)
    with pytest.raises(EncoderError, match=r"no voices\.npz in"):
        FeatureSet.load(tmp_path / "nothing")
    with pytest.raises(EncoderError, match="features of length 2, but colour gives 3"):
        FeatureSet(
            *(
                getattr(features, name)
                for name in FeatureSet.__dataclass_fields__
                if name[:1] in "vfp" and name != "failed" and not name.endswith("encoder")
            ),
            INFOS[1],
            INFOS[1],
        )


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".feather"])
def test_tables_state_their_encoder(tmp_path, suffix):
    table = EmbeddingTable(["a"], np.zeros((1, 2), np.float32), "a", encoder=format_encoders(INFOS))
    table.save(tmp_path / f"t{suffix}")
    loaded = EmbeddingTable.load(tmp_path / f"t{suffix}")
    assert stated_encoders(loaded) == INFOS and stated_encoders(loaded.take(["a"])) == INFOS
    assert stated_encoders(EmbeddingTable(["a"], table.vectors)) == ()


@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"name": 1}]', json.dumps([{**INFOS[0].to_values(), "dimension": "2"}])]
)
def test_a_damaged_statement_is_an_error(text):
    table = EmbeddingTable(["a"], np.zeros((1, 2), np.float32), encoder=text)
    with pytest.raises(EncoderError, match="cannot be read"):
        stated_encoders(table)


def test_a_corpus_is_encoded_once_and_resumed(tiny_population, tmp_path):
    corpus = open_corpus(tiny_population, "test")
    encoders = Loudness(INFOS[0]), Colour(INFOS[1])
    features = FeatureSet.from_corpus(corpus, *encoders, cache=tmp_path, workers=1, progress=False)
    assert features.voice_files == tuple(corpus.voices) and features.face_files == tuple(corpus.faces)
    assert features.identities == tuple(corpus.names)
    owners = [corpus.item_to_identity[item] for item in corpus.voices]
    assert features.voice_identities.tolist() == owners
    first = corpus.voice_path(corpus.voices[0])
    np.testing.assert_allclose(features.voices[0], encoders[0].load_file(first))
    read = []
    encoders[0].load_file = read.append
    again = FeatureSet.from_corpus(corpus, *encoders, cache=tmp_path, workers=1, progress=False)
    assert not read and np.array_equal(again.voices, features.voices)
    with pytest.raises(EncoderError, match="colour encodes faces, expected voices"):
        FeatureSet.from_corpus(corpus, encoders[1], encoders[1])


def test_features_of_a_table_are_found_by_ends_of_paths(tmp_path):
    items = ["a/1.wav", "b/1.wav", "2.wav"]
    EmbeddingTable(items, np.eye(3, dtype=np.float32), "f").save(tmp_path / "t.npz")
    encoder = load_encoder(f"table:{tmp_path / 't.npz'}", "voice")
    assert encoder.dimension == 3 and encoder.fingerprint == "f" and encoder.info.trained_on == ()
    found = encoder.encode(["/data/wav/b/1.wav", "/data/wav/a/1.wav", "/data/wav/c/2.wav"])
    assert found.argmax(1).tolist() == [1, 0, 2]
    with pytest.raises(
        EncoderError, match=r"/data/wav/c/1.wav has no feature in .*whose first name is a/1.wav"
    ):
        encoder.load_file("/data/wav/c/1.wav")
    with pytest.raises(EncoderError, match=r"/d/2.wav and /data/wav/c/2.wav are both 2.wav"):
        encoder.load_file("/d/2.wav")
    with pytest.raises(EncoderError, match="features of its files only"):
        encoder.encode([np.sin(np.arange(16000.0))])


def test_a_table_of_the_other_modality_is_refused(tmp_path):
    vectors = np.zeros((1, 2), np.float32)
    EmbeddingTable(["a"], vectors, "a", encoder=format_encoders(INFOS[:1])).save(tmp_path / "t.npz")
    assert load_encoder(f"table:{tmp_path / 't.npz'}", "voice").info == INFOS[0]
    with pytest.raises(EncoderError, match="features of voices by loudness, expected features of faces"):
        load_encoder(f"table:{tmp_path / 't.npz'}", "face")


def write_csv(path, rows):
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_fops_files_with_and_without_labels(tmp_path):
    rows = np.random.default_rng(0).random((3, 512)).round(4)
    plain = read_fop_csv(write_csv(tmp_path / "plain.csv", rows.tolist()))
    assert plain.labels is None and plain.features.dtype == np.float32
    np.testing.assert_allclose(plain.features, rows, rtol=1e-6)
    labelled = write_csv(
        tmp_path / "labelled.csv", [[*row, label] for row, label in zip(rows.tolist(), (4, 4, 9))]
    )
    for stated in (None, True):
        found = read_fop_csv(labelled, stated)
        assert found.labels.tolist() == [4, 4, 9] and found.features.shape == (3, 512)
    assert read_fop_csv(labelled, False).features.shape == (3, 513)
    (tmp_path / "mark.csv").write_bytes(b"\xef\xbb\xbf1,2\r\n3,4\r\n")
    assert read_fop_csv(tmp_path / "mark.csv", True).features.tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("text", "labelled", "found"),
    [
        ("1,2\n1,x\n", False, "could not convert string 'x' to float32 in row 2, column 2"),
        ("1,2\n1\n", False, "number of columns changed from 2 to 1 at row 2"),
        ("1,2\n3,nan\n", False, "row 2, column 2 is not finite"),
        ("1,2\n3,4.5\n", True, "row 2 has the label 4.5 in its last column"),
        ("1\n2\n", True, "has one column"),
        ("1,2\n3,16777217\n", True, "row 2 has the label 1.67772e+07"),
        ("\n\n", False, "no rows"),
        ("", False, "no rows"),
        ("1,\n3,4\n", False, "could not convert string '' to float32 in row 1, column 2"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_other_files_are_refused_with_row_and_column(tmp_path, text, labelled, found):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(EncoderError) as caught:
        read_fop_csv(tmp_path / "t.csv", labelled)
    assert found in str(caught.value) and "t.csv" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="expected a feature file"):
        read_fop_csv(tmp_path / "none.csv", labelled)


def test_rows_without_names_belong_to_the_files_in_their_order(tiny_population, tmp_path):
    corpus = open_corpus(tiny_population, "test")
    rows = np.arange(len(corpus.voices) * 512).reshape(-1, 512) % 97
    write_csv(tmp_path / "voices.csv", rows.tolist())
    faces = np.ones((len(corpus.faces), 4097))
    write_csv(tmp_path / "faces.csv", faces.tolist())
    encoders = [load_encoder(f"table:{tmp_path / f'{each}s.csv'}", each) for each in ("voice", "face")]
    assert [each.info.trained_on for each in encoders] == [("voxceleb2",), ("vggface",)]
    features = FeatureSet.from_corpus(corpus, *encoders, progress=False)
    assert np.array_equal(features.voices, rows) and features.faces.shape == (len(corpus.faces), 4096)
    with pytest.raises(EncoderError, match="names no files"):
        encoders[0].load_file("a.wav")
    write_csv(tmp_path / "voices.csv", rows[1:].tolist())
    short = load_encoder(f"table:{tmp_path / 'voices.csv'}", "voice")
    with pytest.raises(EncoderError, match=f"has {len(rows) - 1} rows, the data {len(rows)} voices"):
        FeatureSet.from_corpus(corpus, short, encoders[1], progress=False)
