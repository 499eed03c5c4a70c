"""Hostile files: refused with a reason, and nothing of them stays."""

import io
import struct
import wave
import zlib

import numpy as np
import pytest
from voiceface.studio.settings import Limits

from conftest import read_answers, run


def make_wav(seconds: float = 1.0) -> bytes:
    """A voice-like sound: pulses at 120 Hz."""
    count = int(16000 * seconds)
    phase = 2 * np.pi * 120 * np.arange(count) / 16000
    sound = sum(np.sin(k * phase) / k for k in range(1, 20)) * (0.6 + 0.4 * np.sin(phase / 40))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((6000 * sound).astype("<i2").tobytes())
    return buffer.getvalue()


def make_png_bomb(side: int = 30_000) -> bytes:
    """A PNG of a few kilobytes that claims many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + side // 8) * 200)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


MALFORMED = {
    "nothing": b"",
    "text": b"<script>alert(1)</script>",
    "header alone": b"RIFF\x00\x00\x00\x00WAVE",
    "ogg of noise": b"OggS" + bytes(range(256)) * 20,
    "mp4 of noise": b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 20,
    "a picture": make_png_bomb(16),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_recordings_are_refused_with_a_reason(open_studio, name):
    async def work():
        async with open_studio() as (client, studio):
            response = await client.post("/api/voices", files={"file": ("my voice.wav", MALFORMED[name])})
            assert response.status_code == 422, response.text
            detail = response.json()["detail"]
            assert "my voice.wav" in detail and str(studio.store.folder) not in detail
            assert len(studio.store) == 0 and not [p for p in studio.store.folder.iterdir() if p.is_file()]

    run(work())


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0" + b"x" * 500, make_wav(0.5)])
def test_malformed_pictures_are_refused_with_a_reason(open_studio, content):
    async def work():
        async with open_studio() as (client, studio):
            response = await client.post("/api/faces", files={"file": ("a.jpg", content)})
            assert response.status_code == 422
            assert str(studio.store.folder) not in response.text and len(studio.store) == 0

    run(work())


@pytest.mark.parametrize("side", [6000, 30_000])
def test_a_picture_that_unpacks_to_gigabytes_is_refused_by_its_header(open_studio, side):
    async def work():
        async with open_studio() as (client, studio):
            bomb = make_png_bomb(side)
            assert len(bomb) < 20_000
            for address in ("/api/faces", "/api/gallery"):
                response = await client.post(address, files={"file": ("bomb.png", bomb)})
                assert response.status_code == 422 and "pixels" in response.json()["detail"], response.text
            assert not studio.gallery_items()

    run(work())


def test_a_long_recording_is_refused(open_studio):
    async def work():
        async with open_studio(limits=Limits(sound_seconds=2.0)) as (client, _):
            response = await client.post("/api/voices", files={"file": ("a.wav", make_wav(3.0))})
            assert response.status_code == 422 and "longer than 2 s" in response.json()["detail"]

    run(work())


NAMES = [
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/passwd",
    "a/../../b.wav",
    "C:\\x.wav",
    "con",
    "." * 300,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_never_become_paths(open_studio, name):
    async def work():
        async with open_studio() as (client, studio):
            response = await client.post("/api/voices", files={"file": (name, make_wav())})
            assert response.status_code == 200, response.text
            shown = response.json()["name"]
            assert "/" not in shown and "\\" not in shown and len(shown) <= 80
            (stored,) = [path for path in studio.store.folder.iterdir() if path.is_file()]
            assert stored.name.isalnum()

    run(work())


def test_html_in_a_name_stays_a_text(open_studio):
    async def work():
        async with open_studio() as (client, _):
            name = '<img src=x onerror="alert(1)">.wav'
            response = await client.post("/api/voices", files={"file": (name, make_wav())})
            assert response.headers["content-type"] == "application/json"
            assert "<img" in response.json()["name"]  # the page makes texts of it; no HTML is made here

    run(work())


@pytest.mark.parametrize(
    "address",
    [
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/api/candidates/..%2f..%2fetc%2fpasswd/picture.jpg",
        "/api/people/..%2f..%2fx/face.jpg",
        "/api/voices/%2e%2e/spectrogram.png",
    ],
)
def test_addresses_never_become_paths(open_studio, address):
    async def work():
        async with open_studio() as (client, _):
            response = await client.get(address)
            assert response.status_code == 404, response.text

    run(work())


def test_a_recording_is_described_answered_and_deleted(open_studio):
    async def work():
        async with open_studio() as (client, studio):
            response = await client.post("/api/voices", files={"file": ("a.wav", make_wav(2.0))})
            record = response.json()
            assert record["seconds"] == pytest.approx(2.0) and len(record["outline"]) == 120
            picture = await client.get(f"/api/voices/{record['id']}/spectrogram.png")
            assert picture.content.startswith(b"\x89PNG")
            answers = await read_answers(client, f"/api/voices/{record['id']}/answers")
            done = {each["system"]: each for each in answers if each["state"] == "done"}
            assert done["painter"]["picture"]["image"].startswith("data:image/png")
            assert done["sculptor"]["head"]["mesh"]["box"]
            assert done["painter"]["notice"] == "drawn by a test"
            assert (await client.delete(f"/api/voices/{record['id']}")).status_code == 204
            assert (await client.get(f"/api/voices/{record['id']}/answers")).status_code == 404
            assert not [path for path in studio.store.folder.iterdir() if path.is_file()]

    run(work())


def test_old_items_go(open_studio):
    async def work():
        async with open_studio(limits=Limits(kept_items=2)) as (client, studio):
            records = [
                (await client.post("/api/voices", files={"file": ("a.wav", make_wav())})).json()
                for _ in range(3)
            ]
            assert len(studio.store) == 2
            first, last = (f"/api/voices/{records[i]['id']}/clip" for i in (0, 2))
            assert (await client.get(first)).status_code == 404
            assert (await client.get(last)).status_code == 200

    run(work())


def test_a_full_gallery_takes_no_more_files(open_studio):
    async def work():
        async with open_studio(limits=Limits(gallery_files=2)) as (client, studio):
            answers = [
                await client.post("/api/gallery", files={"file": (f"{n}.wav", make_wav())}) for n in "abc"
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 422]
            assert "c.wav: 2 files have been added" in answers[2].json()["detail"]
            assert len(list(studio.dropped.root.iterdir())) == 2
            (first, _) = answers[1].json()["items"]
            assert (await client.delete(f"/api/gallery/{first['id']}")).status_code == 200
            again = await client.post("/api/gallery", files={"file": ("c.wav", make_wav())})
            assert again.status_code == 200

    run(work())


def test_unknown_values_are_refused_in_one_sentence(open_studio):
    async def work():
        async with open_studio() as (client, _):
            response = await client.post("/api/inventions", json={"factors": [0.0] * 7})
            assert response.status_code == 422 and "factors" in response.json()["detail"]
            response = await client.post("/api/inventions", json={"factors": [9.0] * 8})
            assert response.status_code == 422
            response = await client.post("/api/inventions", json={"path": "/etc/passwd"})
            assert response.status_code == 422

    run(work())


def test_a_gallery_whose_folder_has_gone_is_told(open_studio, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()

    async def work():
        async with open_studio(gallery=folder) as (client, _):
            assert (await client.get("/api/gallery")).status_code == 200
            folder.rmdir()
            response = await client.get("/api/gallery")
            assert response.status_code == 422 and str(tmp_path) not in response.text

    run(work())
