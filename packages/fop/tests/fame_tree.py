"""A small tree in the layout of MAV-Celeb with tables of features, for tests; its files are no media."""

from pathlib import Path

import numpy as np
from voiceface.datasets.mavceleb.layout import LANGUAGES
from voiceface.datasets.mavceleb.lists import PairList, write_pair_list
from voiceface.embeddings.table import EmbeddingTable

__all__ = ["FakeTree", "write_tree"]

VOICE_DIM, FACE_DIM, CODE = 12, 10, 4


class FakeTree:
    """Files, tables of features, and the features by file.

    Args:
        root: folder of the version.
        version: such as "v1".
    """

    def __init__(self, root: Path, version: str) -> None:
        self.root, self.version = root, version
        self.voices: dict[str, np.ndarray] = {}
        self.faces: dict[str, np.ndarray] = {}
        rng = np.random.default_rng(7)
        self.to_voice = rng.normal(size=(CODE, VOICE_DIM))
        self.to_face = rng.normal(size=(CODE, FACE_DIM))
        self.rng = rng

    def add(self, item: str, code: np.ndarray) -> str:
        """Add a file of a person with a code (4,): voice and face follow from it, with noise."""
        path = self.root / item
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.encode())
        side, matrix = (
            (self.voices, self.to_voice) if item.startswith("voices") else (self.faces, self.to_face)
        )
        side[item] = (code @ matrix + 0.3 * self.rng.normal(size=matrix.shape[1])).astype(np.float32)
        return item

    def tables(self) -> list[str]:
        """Overrides of the configuration that name both tables."""
        names = []
        for side, features in (("voice", self.voices), ("face", self.faces)):
            path = self.root.parent / f"{side}s.npz"
            EmbeddingTable(list(features), np.stack(list(features.values())), f"{side} 1").save(path)
            names.append(f"data.{side}_encoder=table:{path}")
        return names


def write_tree(folder: Path, *, version: str = "v1", people: int = 40, tested: int = 12) -> FakeTree:
    """Write a tree: two clips and images of each person and language, test lists with labels in truth/."""
    tree = FakeTree(folder / version, version)
    rng = np.random.default_rng(3)
    codes = rng.normal(size=(people + tested, CODE))
    for person in range(people):
        for language in LANGUAGES[version]:
            for number in range(2):
                for side, ending in (("voices", "wav"), ("faces", "jpg")):
                    item = f"{side}/id{person:04d}/{language}/a/{number:05d}.{ending}"
                    tree.add(item, codes[person])
    for language in LANGUAGES[version]:
        files = {
            (side, person, number): tree.add(
                f"{side}/{language}/{2 * (person - people) + number:05d}.{ending}", codes[person]
            )
            for side, ending in (("voices", "wav"), ("faces", "jpg"))
            for person in range(people, people + tested)
            for number in range(2)
        }
        rows = [
            (files["voices", person, number], files["faces", other, number], int(person == other))
            for person in range(people, people + tested)
            for number in range(2)
            for other in (person, people + (person - people + 1) % tested)
        ]
        voices, faces, labels = zip(*rows)
        keys = tuple(f"{language.lower()[:2]}{row:06d}" for row in range(len(rows)))
        pairs = PairList(f"{language}_test", keys, voices, faces, np.array(labels, np.int8))
        write_pair_list(tree.root / "lists" / f"{language}_test.txt", pairs)
        write_pair_list(tree.root / "truth" / f"{language}_test.txt", pairs, labelled=True)
    return tree
