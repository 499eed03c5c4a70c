"""Requests and answers of the HTTP API, as its page /docs lists them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Answer",
    "Candidate",
    "Clip",
    "EvaluatedList",
    "EvaluationSummary",
    "FaceBox",
    "FaceRecord",
    "GalleryItem",
    "GalleryState",
    "HeadAnswer",
    "InventedRequest",
    "Invention",
    "InventionRequest",
    "OracleState",
    "PackedMesh",
    "Person",
    "PictureAnswer",
    "Problem",
    "Ranking",
    "StudioState",
    "SystemState",
    "TrialCandidate",
    "TrialPage",
    "TrialRecord",
    "VoiceRecord",
]

Kind = Literal["ranking", "picture", "head"]
Scope = Literal["people", "own"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Model):
    """Why a request was refused."""

    detail: str


class SystemState(_Model):
    """One system."""

    name: str
    kind: Kind
    description: str
    ranks_voices: bool = Field(description="whether it also answers a face with ranked voices")
    is_fast: bool
    weights: str = Field(description="bundled, or the name of the file or run folder")
    is_loaded: bool
    notice: str = Field(description="disclaimer of the weights; empty until they are loaded")


class StudioState(_Model):
    """What this server can do."""

    version: str
    systems: list[SystemState]
    unavailable: dict[str, str] = Field(description="system -> why it is not there, and the remedy")
    finds_faces: bool
    no_faces_note: str
    upload_megabytes: float
    sound_seconds: float
    own_gallery: bool
    shape_names: list[str] = Field(description="of the forty numbers of `InventionRequest.shape`")


class Person(_Model):
    """One invented person."""

    id: str
    name: str
    gender: Literal["woman", "man"]


class InventedRequest(_Model):
    """Take the recording or the picture of an invented person."""

    person: str = Field(max_length=40)


class VoiceRecord(_Model):
    """A recording, as the networks hear it."""

    id: str
    name: str
    seconds: float
    kept: list[tuple[float, float]] = Field(description="parts that are heard, seconds from the beginning")
    shown_seconds: float = Field(description="that the spectrogram and the outline cover")
    outline: list[float] = Field(description="relative loudness of equal parts, 0...1")
    notes: list[str]
    measures: dict[str, float]
    person: str = Field(description="invented person who speaks; empty: nobody of them")


class FaceBox(_Model):
    """One face in a picture."""

    number: int
    box: tuple[float, float, float, float] = Field(description="left, top, right, bottom, 0...1")
    score: float
    notes: list[str]


class FaceRecord(_Model):
    """A picture and the faces in it, largest first."""

    id: str
    name: str
    width: int
    height: int
    faces: list[FaceBox]
    notes: list[str]
    person: str


class Candidate(_Model):
    """One candidate of a ranking."""

    rank: int
    id: str
    name: str
    score: float = Field(description="cosine, -1...1")
    percentile: float | None = Field(description="share of impostor pairs that score lower, 0...1")
    is_right: bool
    scope: Scope
    note: str


class Ranking(_Model):
    """Candidates of one query by one system, best first."""

    gallery_size: int
    candidates: list[Candidate]
    right_rank: int | None = Field(description="rank of the true one, for invented people")
    verdict: str = Field(description="whether the best candidate stands out")


class PictureAnswer(_Model):
    """A generated picture, as a data URL."""

    image: str
    similarity: float | None = None


class PackedMesh(_Model):
    """A mesh: box (six numbers), base64 of little-endian uint16 points and corners."""

    box: str
    points: str
    corners: str
    wide: str = ""
    colors: str = ""


class HeadAnswer(_Model):
    """A generated head beside the mean head of the nearer sex."""

    mesh: PackedMesh
    reference: PackedMesh | None = None
    reference_name: str = ""
    face_type: str = ""
    distances: dict[str, float] = {}
    differences: dict[str, float] = {}


class Answer(_Model):
    """One event of a stream of answers."""

    system: str
    state: Literal["waiting", "loading", "working", "step", "done", "failed"]
    ahead: int = Field(0, description="answers that come before this one")
    fraction: float = Field(0.0, description="of the work that is done, 0...1")
    stage: str = ""
    seconds: float = Field(0.0, description="that the system has worked on it")
    problem: str = ""
    notice: str = ""
    ranking: Ranking | None = None
    picture: PictureAnswer | None = None
    head: HeadAnswer | None = None


class Clip(_Model):
    """A recording to listen to."""

    seconds: float
    outline: list[float]
    audio: str = Field(description="data URL")


class GalleryItem(_Model):
    """One file of the own gallery."""

    id: str
    name: str
    kind: Literal["face", "voice"]
    origin: Literal["folder", "dropped"]


class GalleryState(_Model):
    """The own gallery."""

    folder: str
    items: list[GalleryItem]
    left_out: dict[str, str]


Number = Annotated[float, Field(ge=-3, le=3)]


class InventionRequest(_Model):
    """An invented person, by numbers: standard deviations from the mean of the sex."""

    sex: Literal["woman", "man"] = "woman"
    factors: list[Number] = Field(default=[0.0] * 8, min_length=8, max_length=8)
    shape: list[Number] = Field(default=[0.0] * 40, min_length=40, max_length=40)
    coupling: float = Field(1.0, ge=0, le=1)
    chance: int = Field(0, ge=0, le=9999, description="which face is drawn where the coupling leaves it open")
    seconds: float = Field(2.0, ge=1, le=5)


class OracleState(_Model):
    """What a perfect observer knows at a coupling."""

    accuracy: float = Field(description="1:2 matching of faces of the same sex")
    rank: int = Field(description="of this face for this voice among the candidates of the same sex")
    candidates: int
    ratio: float = Field(description="log likelihood ratio of this voice and this face")
    explained: list[float] = Field(description="share of the variance of each shape number, 0...1")
    face_factors: list[float]


class Invention(_Model):
    """The face and the voice of an invented person."""

    face: str
    voice: Clip
    shape: list[float]
    oracle: OracleState
    age: int


class EvaluatedList(_Model):
    """Metrics of one trial list."""

    name: str
    kind: Literal["match", "verify", "retrieval"]
    direction: Literal["v2f", "f2v"]
    stratum: str
    metrics: dict[str, dict[str, float | None]]
    identities: list[tuple[str, float, int]] = Field(description="name, mean result, trials; hardest first")

    @classmethod
    def from_values(cls, values: Any) -> Self:
        """Read an entry of results.json; errors as of pydantic, or KeyError."""
        hardest = [(each["name"], each["value"], each["trials"]) for each in values["identities"]]
        names = ("name", "kind", "direction", "stratum", "metrics")
        return cls(**{name: values[name] for name in names}, identities=hardest)


class EvaluationSummary(_Model):
    """One evaluation."""

    name: str
    protocol: str
    lists: list[EvaluatedList]


class TrialCandidate(_Model):
    """One candidate of a trial."""

    id: str
    identity: str
    is_right: bool
    scores: list[float] = Field(description="cosine by each evaluation")


class TrialRecord(_Model):
    """One trial."""

    number: int
    results: list[float] = Field(
        description="by each evaluation: hit, share of trials beaten, or average precision"
    )
    probe: str
    probe_kind: Literal["voice", "face"]
    identity: str
    candidates: list[TrialCandidate]


class TrialPage(_Model):
    """Some trials of a list, in the order that was asked for."""

    name: str = Field(description="of the list")
    evaluations: list[str]
    total: int
    trials: list[TrialRecord]
