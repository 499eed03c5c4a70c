"""Feature files of FOP's published programs: CSV without header, one sample per row."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.encoders.interface import EncoderError
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading

__all__ = ["PUBLISHED_WIDTHS", "FopRows", "PublishedFeatures", "read_fop_csv"]

MAX_LABEL = 2**24  # from here on, labels read as float32 are not exact


@dataclass(frozen=True)
class PublishedFeatures:
    """Features that the published programs of FOP work on.

    Attributes:
        title: description with source.
        trained_on: data sets of its training, in small letters.
    """

    title: str
    trained_on: tuple[str, ...]


PUBLISHED_WIDTHS = {
    ("face", 4096): PublishedFeatures("VGGFace, layer fc7 (Parkhi et al., 2015)", ("vggface",)),
    ("voice", 512): PublishedFeatures(
        "utterance-level aggregation, thin ResNet-34 with GhostVLAD (Xie et al., 2019)", ("voxceleb2",)
    ),
}
"""Modality and width -> published encoder; what they were trained on is taken from their papers."""


class FopRows(NamedTuple):
    """Rows of a feature file.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64, or None.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def read_fop_csv(path: str | Path, labelled: bool | None = None) -> FopRows:
    """Read a feature file: N rows of D numbers, in training files a label behind them.

    Args:
        path: CSV without header.
        labelled: the last column has labels, whole numbers; None: it has them if there are 4097 or 513
            columns.

    Raises:
        FileNotFoundError: no such file.
        EncoderError: no such table: text, rows of different lengths, values that are not finite, labels that
            are no whole numbers; states row and column, counted from 1.
    """
    shown = printable(path)
    with reading(path, EncoderError, "a feature file (CSV of numbers without header)") as file:
        try:
            values = _parse(file)
        except ValueError as error:
            raise EncoderError(f"{shown}: {_explain(error)}, expected numbers without a header") from None
    if not values.size:
        raise EncoderError(f"{shown} has no rows, expected one sample per row")
    if labelled is None:
        labelled = any(values.shape[1] == width + 1 for _, width in PUBLISHED_WIDTHS)
    if labelled and values.shape[1] < 2:
        raise EncoderError(f"{shown} has one column, expected features and a label")
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0] + 1
        raise EncoderError(f"{shown}: row {row}, column {column} is not finite; create the file again")
    if not labelled:
        return FopRows(values, None)
    labels = values[:, -1]
    wrong = np.flatnonzero((labels != np.rint(labels)) | (np.abs(labels) >= MAX_LABEL))
    if len(wrong):
        raise EncoderError(
            f"{shown}: row {wrong[0] + 1} has the label {labels[wrong[0]]:g} in its last column, expected a "
            f"whole number below {MAX_LABEL}; does the file have labels?"
        )
    return FopRows(np.ascontiguousarray(values[:, :-1]), labels.astype(np.int64))


def _parse(file: BinaryIO) -> NDArray[np.float32]:
    """Numbers (N, columns); ValueError for others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no rows, which are the caller's error
        return np.loadtxt(file, np.float32, delimiter=",", comments=None, ndmin=2, encoding="utf-8-sig")


def _explain(error: ValueError) -> str:
    """Text of an error of `numpy.loadtxt`, without its advice; it counts rows from 0 in one message alone."""
    text = str(error).split(";")[0].strip().rstrip(".")
    return re.sub(r"at row (\d+), column", lambda found: f"in row {int(found[1]) + 1}, column", text)
