"""What each system says about a voice or a face: computed by the functions behind the commands."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.studio.galleries import Collection, Entry, search_collection
from voiceface.studio.pictures import image_url, own_pictures
from voiceface.studio.queues import Job, Worker
from voiceface.studio.schemas import (
    Answer,
    Candidate,
    HeadAnswer,
    PackedMesh,
    PictureAnswer,
    Ranking,
)
from voiceface.suite.plugins import (
    AssociationSystem,
    DescribingMeshGenerator,
    GenerationStep,
    ImageSystem,
    SteppingImageGenerator,
    System,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Query", "SystemRunner", "explain"]

Emit = Callable[[Answer], None]
Remember = Callable[[Entry], None]
PROGRAM_ERROR = "an error of the program; see the server's log"
MODALITY = {"voice": "face", "face": "voice"}


@dataclass(frozen=True)
class Query:
    """What a system is asked.

    Attributes:
        kind: "voice" or "face".
        path: the recording or picture.
        name: how the visitor calls it, for messages.
        identity: invented person; "": nobody of them.
        collections: what is ranked.
        top: number of candidates.
        number: face of the picture, from 1.
    """

    kind: str
    path: Path
    name: str
    identity: str
    collections: Sequence[Collection]
    top: int = 12
    number: int = 1


@dataclass
class SystemRunner:
    """One system with its thread; the model is loaded by the first question.

    Attributes:
        system: the record of its package.
        weights: checkpoint or run folder; None: bundled.
        device: of the networks.
        worker: its thread.
        model: the loaded model.
        seconds: that the last answer took.
    """

    system: System
    weights: Path | None
    device: str
    worker: Worker
    model: Any = None
    seconds: float = 0.0
    problem: str = field(default="")

    @property
    def kind(self) -> str:
        """What it answers: "ranking", "picture" or "head"."""
        if isinstance(self.system, AssociationSystem):
            return "ranking"
        return "picture" if isinstance(self.system, ImageSystem) else "head"

    @property
    def is_fast(self) -> bool:
        """Whether an answer takes a fraction of a second."""
        return not isinstance(self.system, ImageSystem) or self.system.is_fast

    @property
    def notice(self) -> str:
        """Disclaimer of the loaded weights."""
        return "" if self.model is None else str(self.model.disclaimer)

    def load(self) -> Any:
        """Load the model once; errors as of the system's `load`."""
        if self.model is None:
            model: Any = self.system.load(self.weights, device=self.device)
            if isinstance(self.system, AssociationSystem):
                model.pictures = own_pictures().with_convention(model.face_crop)
            self.model = model
        return self.model

    def ask(self, query: Query, emit: Emit, remember: Remember) -> Job:
        """Queue a question.

        Args:
            query: the question.
            emit: is called in the system's thread with every event; the last is "done" or "failed".
            remember: is called with every candidate that is named.

        Raises:
            BusyError: too many wait.
        """
        name = self.system.name
        ahead = self.worker.num_waiting
        emit(Answer(system=name, state="waiting", ahead=ahead))
        return self.worker.submit(lambda job: self._answer(job, query, emit, remember))

    def _answer(self, job: Job, query: Query, emit: Emit, remember: Remember) -> None:
        name = self.system.name
        begin = time.perf_counter()
        try:
            job.check()
            if self.model is None:
                emit(Answer(system=name, state="loading"))
            model = self.load()
            job.check()
            emit(Answer(system=name, state="working"))
            begin = time.perf_counter()
            result = self._compute(job, model, query, emit, remember)
        except (ValueError, OSError) as error:
            emit(Answer(system=name, state="failed", problem=explain(error, query.path, query.name)))
            return
        except Exception as error:
            from voiceface.studio.queues import CancelledError

            if not isinstance(error, CancelledError):
                emit(Answer(system=name, state="failed", problem=PROGRAM_ERROR))
            raise
        self.seconds = time.perf_counter() - begin
        done = {"system": name, "state": "done", "seconds": self.seconds, "fraction": 1.0}
        emit(Answer(**done, notice=self.notice, **result))

    def _compute(self, job: Job, model: Any, query: Query, emit: Emit, remember: Remember) -> dict[str, Any]:
        if self.kind == "ranking":
            return {"ranking": self._rank(job, model, query, emit, remember)}
        if self.kind == "picture":
            return {"picture": self._draw(job, model, query, emit)}
        return {"head": _build_head(model, query.path)}

    def _rank(self, job: Job, model: Any, query: Query, emit: Emit, remember: Remember) -> Ranking:
        from voiceface.association.embedding import embed

        wanted = MODALITY[query.kind]

        def show(done: int, total: int) -> None:
            job.check()
            share = done / max(1, total)
            stage = f"embedding the gallery, {done} of {total} files"
            emit(Answer(system=self.system.name, state="step", stage=stage, fraction=share))

        galleries = [
            (each, each.synchronise(model, wanted, show)[0])
            for each in query.collections
            if each.files[wanted]
        ]
        size = sum(len(gallery) for _, gallery in galleries)
        if not size:
            raise ValueError(f"there are no {wanted}s to rank: add some to your gallery")
        sides: Any = ([query.path], []) if query.kind == "voice" else ([], [query.path])
        table = embed(model, *sides, workers=1, progress=False)
        item = query.path.as_posix()
        if item not in table:
            item = f"{item}#{query.number}"
        vector = table.take([item]).vectors
        found = search_collection(galleries, vector, wanted, size if query.identity else query.top)
        known = model.impostor_scores
        shares = (
            [None] * len(found) if known is None else known.percentiles([f.score for f, _ in found]).tolist()
        )
        candidates = []
        for rank, ((each, entry), share) in enumerate(zip(found, shares), 1):
            remember(entry)
            is_right = bool(query.identity) and entry.identity == query.identity
            candidates.append(
                Candidate(
                    rank=rank, id=entry.id, name=entry.name, score=each.score, percentile=share,
                    is_right=is_right, scope=query.collections[0].scope, note=entry.note,
                )
            )  # fmt: skip
        right = next((each.rank for each in candidates if each.is_right), None)
        verdict = "" if known is None else known.describe_best(candidates[0].percentile or 0.0, size)
        return Ranking(
            gallery_size=size, candidates=candidates[: query.top], right_rank=right, verdict=verdict
        )

    def _draw(self, job: Job, model: Any, query: Query, emit: Emit) -> PictureAnswer:
        if not isinstance(model, SteppingImageGenerator):
            return PictureAnswer(image=image_url(model.generate_image([query.path])))

        def show(step: GenerationStep) -> None:
            job.check()
            picture = None if step.image is None else PictureAnswer(image=image_url(step.image))
            event = {"system": self.system.name, "state": "step", "stage": step.stage}
            emit(Answer(**event, fraction=step.fraction, picture=picture))

        return PictureAnswer(image=image_url(model.generate_in_steps([query.path], show)))


def explain(error: Exception, path: Path, name: str) -> str:
    """Text of an error with the visitor's name of the file in place of its path."""
    text = str(error)
    for each in (str(path), path.as_posix(), path.name):
        text = text.replace(each, name)
    return text


def _build_head(model: Any, path: Path) -> HeadAnswer:
    """The head that a model generates, beside the mean head where the model compares them."""
    triangles = model.triangles
    if not isinstance(model, DescribingMeshGenerator):
        return HeadAnswer(mesh=_pack(model.generate_vertices(path), triangles))
    found = model.describe_utterance(path)
    return HeadAnswer(
        mesh=_pack(found.vertices, triangles),
        reference=_pack(found.reference, triangles),
        reference_name=found.reference_name,
        face_type=found.face_type,
        distances=found.distances,
        differences=found.differences,
    )


def _pack(vertices: "ArrayLike", triangles: "ArrayLike") -> PackedMesh:
    from voiceface.report.mesh_view import pack_mesh

    return PackedMesh(**pack_mesh(vertices, triangles))
