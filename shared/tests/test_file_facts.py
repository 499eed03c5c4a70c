"""Records of own files: to plain values and back, and with embeddings through every format of tables."""

import json

import numpy as np
import pyarrow.parquet
import pytest
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.io.file_facts import FaceFacts, FileFacts

POINTS = ((1.5, 2.0), (9.0, 2.25), (5.0, 5.0), (2.0, 8.0), (8.0, 8.5))
FACE = FaceFacts(2, 3, (0.0, -1.5, 10.0, 11.0), POINTS, 0.75, 0.5, "population")
FACTS = {
    "b.jpg#2": FileFacts("b.jpg", "picture", ("small: 7 pixels", "dark"), {"eye_distance": 7.5}, FACE),
    "c\udcff.wav": FileFacts("c\udcff.wav", "recording", (), {"speech_seconds": 0.25}),
}


def make_table(facts):
    items = ["a.jpg", "b.jpg#2", "c\udcff.wav"]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    return EmbeddingTable(items, vectors, "model", facts=facts)


def test_a_record_survives_json():
    for facts in FACTS.values():
        assert FileFacts.from_values(json.loads(json.dumps(facts.to_values()))) == facts
    assert FACTS["b.jpg#2"].short_notes == ("small", "dark")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "smell"}, "smell"),
        ({"file": None, "measures": {"level": "loud"}}, "loud"),
        ({"face": {"box": [1, 2]}}, "points"),
        ({"face": {**FACTS["b.jpg#2"].to_values()["face"], "box": [1, 2, 3]}}, "3 numbers"),
    ],
)
def test_other_values_are_no_record(change, text):
    with pytest.raises(ValueError, match=text):
        FileFacts.from_values({**FACTS["b.jpg#2"].to_values(), **change})


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".arrow"])
def test_tables_keep_the_records(tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    make_table(FACTS).save(path)
    first = path.read_bytes()
    found = EmbeddingTable.load(path)
    escaped = found.items[2]
    assert found.facts["b.jpg#2"] == FACTS["b.jpg#2"] and "a.jpg" not in found.facts
    assert found.facts[escaped] == FACTS["c\udcff.wav"]
    found.save(path)
    assert path.read_bytes() == first
    assert set(found.take(["b.jpg#2"]).facts) == {"b.jpg#2"}
    make_table({}).save(path)
    assert EmbeddingTable.load(path).facts == {}
    if suffix == ".parquet":
        assert pyarrow.parquet.read_table(path).column_names == ["item", "embedding"]


def test_records_of_another_form_are_an_error(tmp_path):
    path = tmp_path / "table.npz"
    for texts in (["", ""], ["", "", 5], ["", "{}", ""]):
        values = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        np.savez(path, items=np.array(["a", "b", "c"]), vectors=np.ones((3, 2), np.float32), facts=values)
        with pytest.raises(EmbeddingError, match=r"table\.npz"):
            EmbeddingTable.load(path)
