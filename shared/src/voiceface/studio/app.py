"""Routes of the studio: the HTTP API, its description, and the page."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse

from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.studio.galleries import Entry
from voiceface.studio.guard import Guard
from voiceface.studio.invention import invent
from voiceface.studio.page_files import add_page
from voiceface.studio.pictures import encode_crop
from voiceface.studio.queues import BusyError
from voiceface.studio.schemas import (
    Clip,
    EvaluationSummary,
    FaceRecord,
    GalleryState,
    InventedRequest,
    Invention,
    InventionRequest,
    Person,
    Problem,
    Scope,
    StudioState,
    TrialPage,
    VoiceRecord,
)
from voiceface.studio.service import Studio
from voiceface.studio.storage import UnknownItemError
from voiceface.studio.streaming import find_person, run, stream_answers
from voiceface.studio.voices import encode_voice

__all__ = ["build_app", "build_routes"]

MAX_TOP = 1000
KEEP = {"cache-control": "private, max-age=600"}
DESCRIPTION = (
    "What the page of the studio calls. Send a recording to `/api/voices`, then read the answers of all "
    "systems from `/api/voices/{id}/answers`: server-sent events, one JSON object of the type `Answer` each. "
    "Everything is computed on this machine; what is sent is deleted when the server ends."
)
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        404: "no such item",
        413: "too large",
        422: "cannot be used; the text says why",
        503: "too many others wait",
    }.items()
}
Top = Annotated[int, Query(ge=1, le=MAX_TOP, description="candidates of each ranking")]


def build_app(studio: Studio) -> Guard:
    """The whole application, with the checks of every request."""
    return Guard(build_routes(studio), studio.settings)


def build_routes(studio: Studio) -> FastAPI:
    """The routes, without those checks."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with decoding_in_workers(2):
            try:
                yield
            finally:
                await asyncio.to_thread(studio.close)

    from voiceface import __version__

    app = FastAPI(
        title="voiceface studio",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=REFUSALS,
    )
    _add_errors(app)
    add_page(app)
    _add_people(app, studio)
    _add_voices(app, studio)
    _add_faces(app, studio)
    _add_gallery(app, studio)
    _add_evaluations(app, studio)
    return app


def _add_errors(app: FastAPI) -> None:
    def problem(status: int, text: str) -> JSONResponse:
        return JSONResponse({"detail": text}, status)

    @app.exception_handler(UnknownItemError)
    async def unknown(_: Request, error: UnknownItemError) -> JSONResponse:
        return problem(404, str(error.args[0]))

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        return problem(503, str(error))

    @app.exception_handler(ValueError)
    async def unusable(_: Request, error: ValueError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(OSError)
    async def unreadable(_: Request, error: OSError) -> JSONResponse:
        return problem(422, f"a file cannot be read: {error.strerror or type(error).__name__}")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return problem(422, "; ".join(found)[:600])


def _add_people(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/state", tags=["studio"])
    async def state() -> StudioState:
        """What this server can do."""
        return studio.state()

    @app.get("/api/people", tags=["invented people"])
    async def people() -> list[Person]:
        """Invented people that are at hand; the first call makes them, which takes some seconds."""
        found = await run(studio.inventing, studio.people)
        return [Person(id=each.id, name=each.name, gender=each.gender) for each in found]  # type: ignore[arg-type]

    @app.get("/api/people/{person}/face.jpg", tags=["invented people"], response_class=Response)
    async def person_face(person: str) -> Response:
        """The picture of an invented person."""
        found = await find_person(studio, person)
        return Response(
            found.face.read_bytes(), media_type="image/jpeg", headers={"cache-control": "max-age=3600"}
        )

    @app.get("/api/people/{person}/clip", tags=["invented people"])
    async def person_clip(person: str) -> Clip:
        """The recording of an invented person."""
        found = await find_person(studio, person)
        return await run(studio.reading, lambda: encode_voice(found.voice, is_own=False))

    @app.post("/api/inventions", tags=["invented people"])
    async def invention(request: InventionRequest) -> Invention:
        """Draw and speak an invented person by numbers."""
        return await run(studio.inventing, lambda: invent(request))


def _add_voices(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/voices", tags=["voices"])
    async def add_voice(file: Annotated[UploadFile, File()]) -> VoiceRecord:
        """Send a recording; any format that libav reads."""
        item = studio.store.add("voice", await file.read(), file.filename or "recording")
        return await run(studio.reading, lambda: studio.hear(item))

    @app.post("/api/voices/invented", tags=["voices"])
    async def take_voice(request: InventedRequest) -> VoiceRecord:
        """Take the recording of an invented person."""
        person = await find_person(studio, request.person)
        item = studio.store.add_invented("voice", person.voice, person.name, person.id)
        return await run(studio.reading, lambda: studio.hear(item))

    @app.get("/api/voices/{identifier}/spectrogram.png", tags=["voices"], response_class=Response)
    async def spectrogram(identifier: str) -> Response:
        """Spectrogram up to 8 kHz, low frequencies at the bottom."""
        item = studio.store.get(identifier, "voice")
        return Response(item.values["spectrogram"], media_type="image/png")

    @app.get("/api/voices/{identifier}/clip", tags=["voices"])
    async def voice_clip(identifier: str) -> Clip:
        """What the networks hear of the recording."""
        item = studio.store.get(identifier, "voice")
        return await run(studio.reading, lambda: encode_voice(item.path))

    @app.get("/api/voices/{identifier}/answers", tags=["voices"], response_class=StreamingResponse)
    async def voice_answers(
        identifier: str,
        scope: Scope = "people",
        systems: Annotated[list[str] | None, Query(description="default: all")] = None,
        top: Top = 12,
    ) -> StreamingResponse:
        """Answers of all systems as they come: server-sent events of the type `Answer`."""
        item = studio.store.get(identifier, "voice")
        return await stream_answers(studio, item, scope, systems, top)

    @app.delete("/api/voices/{identifier}", tags=["voices"], status_code=204)
    async def remove_voice(identifier: str) -> None:
        """Delete a recording."""
        studio.store.remove(identifier)


def _add_faces(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/faces", tags=["faces"])
    async def add_face(file: Annotated[UploadFile, File()]) -> FaceRecord:
        """Send a picture; its faces are found."""
        item = studio.store.add("face", await file.read(), file.filename or "picture")
        return await run(studio.reading, lambda: studio.look(item))

    @app.post("/api/faces/invented", tags=["faces"])
    async def take_face(request: InventedRequest) -> FaceRecord:
        """Take the picture of an invented person."""
        person = await find_person(studio, request.person)
        item = studio.store.add_invented("face", person.face, person.name, person.id)
        return await run(studio.reading, lambda: studio.look(item))

    @app.get("/api/faces/{identifier}/picture.jpg", tags=["faces"], response_class=Response)
    async def picture(identifier: str) -> Response:
        """The picture, upright."""
        item = studio.store.get(identifier, "face")
        return Response(item.values["shown"], media_type="image/jpeg")

    @app.get("/api/faces/{identifier}/answers", tags=["faces"], response_class=StreamingResponse)
    async def face_answers(
        identifier: str,
        number: Annotated[int, Query(ge=1, le=1000, description="face of the picture")] = 1,
        scope: Scope = "people",
        systems: Annotated[list[str] | None, Query(description="default: all that rank")] = None,
        top: Top = 12,
    ) -> StreamingResponse:
        """Voices ranked for one face of the picture: server-sent events of the type `Answer`."""
        item = studio.store.get(identifier, "face")
        return await stream_answers(studio, item, scope, systems, top, number)

    @app.delete("/api/faces/{identifier}", tags=["faces"], status_code=204)
    async def remove_face(identifier: str) -> None:
        """Delete a picture."""
        studio.store.remove(identifier)

    @app.get("/api/candidates/{identifier}/picture.jpg", tags=["candidates"], response_class=Response)
    async def candidate_picture(identifier: str) -> Response:
        """The face of a candidate, as the networks saw it."""
        content = await read_candidate(identifier, lambda entry: encode_crop(entry.path, entry.face))
        return Response(content, media_type="image/jpeg", headers=KEEP)

    @app.get("/api/candidates/{identifier}/clip", tags=["candidates"])
    async def candidate_clip(identifier: str) -> Clip:
        """The recording of a candidate."""
        return await read_candidate(
            identifier, lambda entry: encode_voice(entry.path, is_own=not entry.identity)
        )

    async def read_candidate(identifier: str, read: Callable[[Entry], Any]) -> Any:
        entry = studio.entry(identifier)
        try:
            return await run(studio.reading, lambda: read(entry))
        except (ValueError, OSError):
            studio.entry(identifier)  # removed meanwhile: not found
            raise


def _add_gallery(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/gallery", tags=["own gallery"])
    async def gallery() -> GalleryState:
        """Files of the own gallery: of the folder given at the start, and those that were added."""
        await run(studio.reading, studio.refresh_gallery)
        return studio.gallery()

    @app.post("/api/gallery", tags=["own gallery"])
    async def add_to_gallery(file: Annotated[UploadFile, File()]) -> GalleryState:
        """Add a picture or a recording until the server ends."""
        content = await file.read()
        await run(studio.reading, lambda: studio.drop(content, file.filename or "file"))
        return studio.gallery()

    @app.delete("/api/gallery/{identifier}", tags=["own gallery"])
    async def remove_from_gallery(identifier: str) -> GalleryState:
        """Take a file out of the gallery; a file of the folder itself is not touched."""
        studio.remove_from_gallery(identifier)
        return studio.gallery()


def _add_evaluations(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/evaluations", tags=["evaluations"])
    async def evaluations() -> list[EvaluationSummary]:
        """Metrics of the evaluations that were given at the start."""
        return studio.evaluations.summaries

    @app.get("/api/evaluations/trials", tags=["evaluations"])
    async def trials(
        name: Annotated[str, Query(max_length=200, description="of a list")],
        order: Literal["hardest", "easiest", "disagreement"] = "hardest",
        start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 12,
    ) -> TrialPage:
        """Trials of a list with their recordings and pictures; needs the data folder."""
        options = {"order": order, "start": start, "count": count}
        return await run(
            studio.reading,
            lambda: studio.evaluations.trials(name, studio.remember, **options),  # type: ignore[arg-type]
        )
