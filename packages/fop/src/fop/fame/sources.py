"""Features for the FAME protocol: a tree of MAV-Celeb through encoders, or the published programs' files.

Either source gives the training features of a language, and those of its test list.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.disclaimers import get_disclaimer
from voiceface.datasets.identities import Identity
from voiceface.datasets.mavceleb.layout import (
    LANGUAGES,
    Leak,
    find_leaks,
    find_list,
    open_training_corpus,
    read_test_list,
    require_files,
)
from voiceface.datasets.mavceleb.lists import MavCelebError, PairList
from voiceface.encoders.tables import FeatureSet

from fop.config import FopConfig
from fop.training_data import read_published_features

if TYPE_CHECKING:
    from voiceface.encoders.interface import Encoder

__all__ = ["CsvSource", "FameSource", "ListSource", "TestFeatures", "TreeSource", "require_no_leak"]

_TESTED = Identity("(test)", "(test)", "(test)", split="test")


@dataclass(frozen=True)
class TestFeatures:
    """Features of a test list.

    Attributes:
        pairs: the list, P pairs.
        features: voices (N, Dv) and faces (M, Df) of its files; the identity is not known.
        voice_rows: (P,) row of the voice of every pair.
        face_rows: (P,) row of the face of every pair.
    """

    pairs: PairList
    features: FeatureSet
    voice_rows: NDArray[np.int64]
    face_rows: NDArray[np.int64]


class FameSource:
    """Features of one version of MAV-Celeb.

    Attributes:
        version: "v1", "v2" or "v3".
        root: folder of its test lists.
    """

    version: str
    root: Path

    @property
    def languages(self) -> tuple[str, str]:
        """The two languages of the version."""
        return LANGUAGES[self.version]

    def other(self, language: str) -> str:
        """Return the language that is not heard in training on `language`.

        Raises:
            MavCelebError: the version does not have this language.
        """
        if language not in self.languages:
            raise MavCelebError(f"{self.version} has {' and '.join(self.languages)}, found {language!r}")
        return next(each for each in self.languages if each != language)

    def read_test_list(self, language: str) -> PairList:
        """Read the test list of a language; errors as `voiceface.datasets.mavceleb.layout.read_test_list`."""
        return read_test_list(self.root, self.version, language)

    @property
    def disclaimer(self) -> str:
        """Disclaimer of models that are trained on this source; empty for real data."""
        return get_disclaimer(self.root)

    def load_training(self, language: str) -> FeatureSet:
        """Load the training features of a language."""
        raise NotImplementedError

    def load_test(self, language: str) -> TestFeatures:
        """Load the features of the test list of a language."""
        raise NotImplementedError

    def find_leak(self, language: str) -> Leak:
        """Find what the training on a language shares with the tests of both, as far as these are there."""
        raise NotImplementedError

    def known_tests(self) -> list[str]:
        """Languages whose test lists are there: leaks to other tests cannot be found."""
        return [each for each in self.languages if find_list(self.root, self.version, each, "test")]


@dataclass(frozen=True)
class ListSource(FameSource):
    """Test lists alone, without features."""

    root: Path
    version: str


@dataclass(frozen=True)
class TreeSource(FameSource):
    """Files in the layout of MAV-Celeb, through the encoders of a configuration.

    Attributes:
        root: folder of the version.
        version: "v1", "v2" or "v3".
        config: its encoders and `training.num_workers` are used.
        cache: folder of finished features, from which a stopped run is resumed.
        device: device of the encoders.
    """

    root: Path
    version: str
    config: FopConfig
    cache: Path
    device: str = "cpu"

    @cached_property
    def encoders(self) -> "tuple[Encoder, Encoder]":
        """The voice and the face encoder; errors as `voiceface.encoders.registry.load_encoder`."""
        from voiceface.encoders.registry import load_encoder

        data = self.config.data
        return (
            load_encoder(data.voice_encoder, "voice", device=self.device),
            load_encoder(data.face_encoder, "face", device=self.device),
        )

    def load_training(self, language: str) -> FeatureSet:
        """Encode the training files of a language; people without a voice or without a face are left out."""
        corpus = open_training_corpus(self.root, self.version, [language])
        return self._encode(corpus.with_both_modalities())

    def load_test(self, language: str) -> TestFeatures:
        """Encode the files of the test list of a language, each once."""
        pairs = self.read_test_list(language)
        voices, faces = dict.fromkeys(pairs.voices), dict.fromkeys(pairs.faces)
        require_files(self.root, (*voices, *faces))
        record = IdentityRecord(_TESTED, 0, tuple(voices), tuple(faces))
        features = self._encode(Corpus((record,), self.root, self.root))
        rows = (
            {item: row for row, item in enumerate(files)}
            for files in (features.voice_files, features.face_files)
        )
        voice_rows, face_rows = (
            np.array([row[item] for item in items], np.int64)
            for row, items in zip(rows, (pairs.voices, pairs.faces))
        )
        return TestFeatures(pairs, features, voice_rows, face_rows)

    def find_leak(self, language: str) -> Leak:
        """Find identities of the test, and test files by their bytes, among the training files."""
        training = open_training_corpus(self.root, self.version, [language])
        lists = [self.read_test_list(each) for each in self.known_tests()]
        return find_leaks(training, lists, self.root)

    def _encode(self, corpus: Corpus) -> FeatureSet:
        return FeatureSet.from_corpus(
            corpus, *self.encoders, cache=self.cache, workers=self.config.training.num_workers
        )


@dataclass(frozen=True)
class CsvSource(FameSource):
    """Feature files of the published programs: CSV without header, row i of voices and faces is one sample.

    Files are found below a folder by their names, which hold the language, `voice` or `face`, and `train` or
    `test`: `v1/English/English_voices_train.csv`. Training files have the label in their last column; rows of
    a test file are the lines of the test list.

    Attributes:
        root: folder of the test lists: `lists/English_test.txt` and so on.
        version: "v1", "v2" or "v3".
        folder: of the feature files.
    """

    root: Path
    version: str
    folder: Path
    _loaded: dict[tuple[str, str], FeatureSet] = field(default_factory=dict, repr=False, compare=False)

    def load_training(self, language: str) -> FeatureSet:
        """Read the training files of a language."""
        if (language, "train") not in self._loaded:
            paths = (self.find(language, "voice", "train"), self.find(language, "face", "train"))
            self._loaded[language, "train"] = read_published_features(*paths)
        return self._loaded[language, "train"]

    def load_test(self, language: str) -> TestFeatures:
        """Read the test files of a language.

        Raises:
            MavCelebError: another number of rows than the test list has lines.
        """
        pairs = self.read_test_list(language)
        paths = (self.find(language, "voice", "test"), self.find(language, "face", "test"))
        if (language, "test") not in self._loaded:
            self._loaded[language, "test"] = _read_test_features(*paths)
        found = self._loaded[language, "test"]
        for path, count in zip(paths, (len(found.voices), len(found.faces))):
            if count != len(pairs):
                raise MavCelebError(
                    f"{path} has {count} rows and {pairs.name} {len(pairs)} lines, expected one row a line"
                )
        rows = np.arange(len(pairs))
        return TestFeatures(pairs, replace(found, voice_files=pairs.keys, face_files=pairs.keys), rows, rows)

    def find_leak(self, language: str) -> Leak:
        """Find rows of the test files that are rows of the training files: a file that is in both."""
        training = self.load_training(language)
        same: list[tuple[str, str]] = []
        for tested in self.known_tests():
            found = self.load_test(tested).features
            for known, rows, names in (
                (training.voices, found.voices, "voices"),
                (training.faces, found.faces, "faces"),
            ):
                same += [
                    (f"{language} training {names}, row {a + 1}", f"{tested} test {names}, row {b + 1}")
                    for a, b in _equal_rows(known, rows)
                ]
        return Leak(files=tuple(same))

    def find(self, language: str, modality: str, part: str) -> Path:
        """Find the file of a language, of "voice" or "face", for "train" or "test".

        Raises:
            FileNotFoundError: none.
            MavCelebError: several.
        """
        found = [
            path for path in sorted(self.folder.rglob("*.csv")) if self._fits(path, language, modality, part)
        ]
        if not found:
            raise FileNotFoundError(
                f"no feature file below {self.folder} whose name holds {language}, {modality} and {part}; "
                f"expected one such as {self.version}/{language}/{language}_{modality}s_{part}.csv"
            )
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(self.folder)) for path in found[:4])
            raise MavCelebError(
                f"several feature files for {language}, {modality}, {part}: {names}; keep one"
            )
        return found[0]

    def _fits(self, path: Path, language: str, modality: str, part: str) -> bool:
        words = re.split(r"[_\-. ]+", path.stem.lower())
        place = re.split(r"[_\-. /]+", path.relative_to(self.folder).as_posix().lower())
        versions = set(LANGUAGES) & set(place)
        return (
            language.lower() in words
            and part in words
            and any(word in (modality, f"{modality}s") for word in words)
            and versions <= {self.version}
        )


def require_no_leak(source: FameSource, languages: Iterable[str]) -> None:
    """Check that nobody and nothing of the test is trained on.

    Raises:
        MavCelebError: something is; states what.
    """
    for language in languages:
        leak = source.find_leak(language)
        if leak:
            raise MavCelebError(
                f"training on {language}: {leak.describe()}; take them out of the training data"
            )


def _read_test_features(voices: Path, faces: Path) -> FeatureSet:
    """Rows of two test files, which have no labels."""
    from voiceface.encoders.interface import EncoderInfo
    from voiceface.encoders.tables import read_fop_csv

    sides = [read_fop_csv(path, labelled=False).features for path in (voices, faces)]
    names = [tuple(map(str, range(len(side)))) for side in sides]
    owners = [np.zeros(len(side), np.int64) for side in sides]
    return FeatureSet(
        sides[0],
        sides[1],
        owners[0],
        owners[1],
        (_TESTED,),
        names[0],
        names[1],
        EncoderInfo(f"table:{voices.name}", "voice", sides[0].shape[1]),
        EncoderInfo(f"table:{faces.name}", "face", sides[1].shape[1]),
    )


def _equal_rows(known: NDArray[np.float32], rows: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs (row of `known`, row of `rows`) of equal content, the first of each content."""
    if known.shape[1] != rows.shape[1]:
        return []
    first, second = (
        np.ascontiguousarray(each).view(np.dtype((np.void, each.itemsize * each.shape[1]))).ravel()
        for each in (known, rows)
    )
    _, left, right = np.intersect1d(first, second, return_indices=True)
    return list(zip(left.tolist(), right.tolist()))
