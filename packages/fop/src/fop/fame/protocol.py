"""The FAME protocol: train on one language, score the tests of both, evaluate where labels are known."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from voiceface.datasets.mavceleb.lists import MavCelebError
from voiceface.io.atomic import write_json
from voiceface.io.foreign_files import read_json

from fop.euclidean import EXTRA_DIMENSIONS
from fop.fame.scores import FameResult, FameScores, evaluate_submission
from fop.fame.sources import FameSource, TestFeatures, require_no_leak
from fop.fame.submissions import (
    NamedBy,
    SubmissionError,
    check_submission,
    format_problems,
    read_submission,
    submission_name,
    write_submission,
)

if TYPE_CHECKING:
    from fop.config import FopConfig
    from fop.embedder import FopEmbedder

__all__ = [
    "RUN_FILE",
    "TrainedOn",
    "evaluate_folder",
    "score_language",
    "score_pairs",
    "submission_path",
    "train_language",
]

RUN_FILE = "fame.json"
"""In a run folder: version and language that the model was trained on."""


@dataclass(frozen=True)
class TrainedOn:
    """What a model was trained on: a version of MAV-Celeb and the language that it heard."""

    version: str
    language: str

    def save(self, run: Path) -> None:
        """Write RUN/fame.json."""
        write_json(run / RUN_FILE, {"version": self.version, "language": self.language})

    @classmethod
    def load(cls, weights: Path) -> "TrainedOn | None":
        """Read the statement of a run folder, or of the folder of a checkpoint; None where there is none.

        Raises:
            MavCelebError: another content.
        """
        path = (weights if weights.is_dir() else weights.parent) / RUN_FILE
        if not path.is_file():
            return None
        found = read_json(path, MavCelebError, "a record of a FAME run")
        if not all(isinstance(found.get(key), str) for key in ("version", "language")):
            raise MavCelebError(f"{path}: expected version and language; train again, or name them")
        return cls(found["version"], found["language"])


def train_language(
    source: FameSource,
    language: str,
    config: "FopConfig",
    out: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train a model on one language; the people of both tests never occur in training.

    Where a test list is not there, whether its people do cannot be found out; stderr says so.

    Args:
        source: features.
        language: the language that is heard.
        config: the experiment; people held out of the training people select the checkpoint.
        out: run folder, new or empty unless `resume`.
        device: "cpu", "cuda" or "auto".
        threads: threads of PyTorch on the CPU; None leaves them as they are.
        resume: continue the run in `out`.

    Returns:
        The checkpoint.

    Raises:
        MavCelebError: the training shares people or files with a test; nothing is trained.
        ValueError, OSError: the features or the run folder cannot be used.
    """
    from voiceface.training.run_directory import check_run_directory

    from fop.train import train
    from fop.training_data import load_feature_data

    check_run_directory(out, resume)
    source.other(language)
    require_no_leak(source, [language])
    _warn_of_missing_lists(source)
    data = load_feature_data(config, source.load_training(language))
    texts = dict.fromkeys(text for text in (source.disclaimer, data.disclaimer) if text)
    checkpoint = train(
        config,
        data.dataset,
        out,
        validation=data.validation,
        device=device,
        threads=threads,
        resume=resume,
        disclaimer=" ".join(texts),
    )
    TrainedOn(source.version, language).save(out)
    return checkpoint


def _warn_of_missing_lists(source: FameSource) -> None:
    """Say on stderr against which tests the training people were not checked."""
    known = source.known_tests()
    missing = [each for each in source.languages if each not in known]
    if missing:
        places = " and ".join(f"lists/{each}_test.txt" for each in missing)
        print(
            f"warning: no test list of {' or '.join(missing)} in {source.root}: whether its people or files "
            f"are trained on was not checked; to have it checked, put {places} there",
            file=sys.stderr,
        )


def score_pairs(model: "FopEmbedder", test: TestFeatures) -> NDArray[np.float64]:
    """Distances of the pairs of a test list, (P,); smaller is more alike.

    Args:
        model: with `evaluation.score=euclidean` the published distance, else 1 - cosine.
        test: features of the encoders that the model was trained on.

    Raises:
        EncoderError: features of other encoders.
    """
    voices, faces = (table.vectors.astype(np.float64) for table in model.embed_features(test.features))
    if model.is_euclidean:  # the components behind the embedding make distances into cosines
        voices, faces = voices[:, :-EXTRA_DIMENSIONS], faces[:, :-EXTRA_DIMENSIONS]
        return np.linalg.norm(voices[test.voice_rows] - faces[test.face_rows], axis=1)
    voices, faces = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (voices, faces))
    return 1 - (voices[test.voice_rows] * faces[test.face_rows]).sum(1)


def submission_path(out: Path, version: str, train: str, test: str, named_by: NamedBy = "train") -> Path:
    """Path of the submission of one pair of languages."""
    return out / submission_name(version, train if named_by == "train" else test, train == test)


def score_language(
    source: FameSource,
    language: str,
    model: "FopEmbedder",
    out: Path,
    *,
    named_by: NamedBy = "train",
) -> list[Path]:
    """Write and check the submissions of one model: the heard and the unheard test.

    Args:
        source: features.
        language: that the model was trained on.
        model: the model.
        out: folder of the submissions.
        named_by: language in their names: that of the training, or that of the test.

    Returns:
        The two files, heard first.

    Raises:
        MavCelebError: the training shares people or files with a test, or a list is missing or wrong.
        SubmissionError: a distance is not finite, or a file would be refused; that file is not kept.
    """
    require_no_leak(source, [language])
    tests = [(test, source.load_test(test)) for test in (language, source.other(language))]
    paths = []
    for test, features in tests:
        path = submission_path(out, source.version, language, test, named_by)
        write_submission(path, features.pairs.keys, score_pairs(model, features))
        problems = check_submission(path, features.pairs, named_by=named_by)
        if problems:
            path.unlink()
            raise SubmissionError(f"{path} would be refused:\n{format_problems(problems)}")
        paths.append(path)
    return paths


def evaluate_folder(
    source: FameSource, folder: Path, *, named_by: NamedBy = "train", languages: Sequence[str] | None = None
) -> tuple[FameScores, list[str]]:
    """Evaluate the submissions of a folder that can be evaluated.

    Args:
        source: its test lists with labels are used, no features.
        folder: of the submissions, by their names.
        named_by: language in their names.
        languages: languages of the training; None: both.

    Returns:
        The figures, and for every pair of languages without a figure why it has none.
    """
    results: list[FameResult] = []
    lacking: list[str] = []
    for train in languages or source.languages:
        for test in (train, source.other(train)):
            path = submission_path(folder, source.version, train, test, named_by)
            try:
                results.append(
                    evaluate_submission(read_submission(path), source.read_test_list(test), train, test)
                )
            except (ValueError, OSError) as error:
                lacking.append(f"{train} to {test}: {error}")
    return FameScores(source.version, tuple(results)), lacking
