"""Hostile files: refused with a reason, and nothing of them stays."""

import io
import os
import struct
import wave
import zlib
from pathlib import Path

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
            assert "expected at most 2 of 2048 MB" in answers[2].json()["detail"]
            assert len(list(studio.dropped.root.iterdir())) == 2
            (first, _) = answers[1].json()["items"]
            assert (await client.delete(f"/api/gallery/{first['id']}")).status_code == 200
            again = await client.post("/api/gallery", files={"file": ("c.wav", make_wav())})
            assert again.status_code == 200

    run(work())


@pytest.mark.parametrize("kind", ["clip", "picture.jpg"])
@pytest.mark.parametrize("while_it_is_read", [False, True])
def test_a_removed_candidate_is_not_found(open_studio, monkeypatch, kind, while_it_is_read):
    async def work():
        async with open_studio() as (client, studio):
            answer = await client.post("/api/gallery", files={"file": ("a.wav", make_wav())})
            (item,) = answer.raise_for_status().json()["items"]
            address = f"/api/candidates/{item['id']}/{kind}"
            if kind == "clip":
                assert (await client.get(address)).status_code == 200
            if while_it_is_read:

                def remove_and_fail(*_, **__):
                    studio.remove_from_gallery(item["id"])
                    raise FileNotFoundError(2, "No such file or directory")

                for name in ("encode_voice", "encode_crop"):
                    monkeypatch.setattr(f"voiceface.studio.app.{name}", remove_and_fail)
            else:
                assert (await client.delete(f"/api/gallery/{item['id']}")).status_code == 200
            refused = await client.get(address)
            assert (refused.status_code, refused.json()["detail"]) == (404, "no such candidate")

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


def make_flac(seconds: float, rate: int, channels: int) -> bytes:
    """Silence: a small file."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((int(seconds * rate), channels), np.int16), rate, format="FLAC")
    return buffer.getvalue()


def lie_about_the_length(flac: bytes, seconds: float, rate: int) -> bytes:
    """The same file with another number of samples in its header: 36 bits before the digest."""
    count = int(seconds * rate)
    content = bytearray(flac)
    content[21] = (content[21] & 0xF0) | count >> 32
    content[22:26] = (count & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("address", ["/api/voices", "/api/gallery"])
def test_sound_that_unpacks_to_gigabytes_is_refused_while_it_is_counted(open_studio, address):
    limits = Limits(sound_seconds=4.0, sound_samples=400_000)
    bombs = {
        "longer than 4 s": make_flac(20, 8000, 1),
        "longer than 4 s:": lie_about_the_length(make_flac(20, 8000, 1), 1.0, 8000),
        "samples in all channels": make_flac(3, 48000, 8),
    }

    async def work():
        async with open_studio(limits=limits) as (client, studio):
            for reason, content in bombs.items():
                assert len(content) < 100_000
                response = await client.post(address, files={"file": ("bomb.flac", content)})
                assert response.status_code == 422, response.text
                detail = response.json()["detail"]
                assert reason.rstrip(":") in detail or "states" in detail, detail
            assert len(studio.store) == 0 and not studio.gallery_items()

    run(work())


def test_what_is_kept_has_a_size_in_all(open_studio):
    size = len(make_wav())

    async def work():
        limits = Limits(kept_bytes=2 * size, gallery_bytes=2 * size)
        async with open_studio(limits=limits) as (client, studio):
            for _ in range(4):
                await client.post("/api/voices", files={"file": ("a.wav", make_wav())})
            assert len(studio.store) == 2
            found = [await client.post("/api/gallery", files={"file": ("a.wav", make_wav())}) for _ in "abc"]
            assert [each.status_code for each in found] == [200, 200, 422]
            assert "expected at most" in found[2].json()["detail"]

    run(work())


def test_a_folder_with_names_that_are_no_text_is_shown(open_studio, tmp_path):
    """Names of files may hold any bytes but / and NUL; answers are UTF-8."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    names = [b"\xff\xfe.png", b"line\nend.png", b"<b>.png", b"\x1b[2J.png"]
    for name in names:
        Image.fromarray(noise).save(os.fsdecode(os.fsencode(tmp_path) + b"/" + name), "PNG")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/left\xff.txt")).write_text("no picture")

    async def work():
        async with open_studio(gallery=tmp_path) as (client, _):
            state = (await client.get("/api/gallery")).raise_for_status().json()
            assert len(state["items"]) == len(names)
            shown = {each["name"] for each in state["items"]}
            assert "\\xff\\xfe.png" in shown and "<b>.png" in shown
            assert all(name.isprintable() for name in (*shown, *state["left_out"]))
            for each in state["items"]:
                assert (await client.get(f"/api/candidates/{each['id']}/picture.jpg")).status_code == 200

    run(work())


@pytest.mark.parametrize(
    "name", [b"\x00a.wav", b"a\x00b.wav", b"\xff\xfe.wav", "\u202ea.wav".encode(), b'"', b"<svg onload=x>"]
)
def test_names_lose_what_is_no_text(open_studio, name):
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}

    async def work():
        async with open_studio() as (client, _):
            body = head + make_wav() + b"\r\n--b--\r\n"
            response = await client.post("/api/voices", content=body, headers=headers)
            assert response.status_code == 200, response.text
            assert response.json()["name"].isprintable()

    run(work())


FORMS = {
    "no boundary": ("multipart/form-data", b"x"),
    "another boundary": ("multipart/form-data; boundary=b", b"--c\r\n\r\nx\r\n--c--\r\n"),
    "no file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
    ),
    "cut": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx',
    ),
    "many parts": (
        "multipart/form-data; boundary=b",
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\nx\r\n' % i
            for i in range(3000)
        )
        + b"--b--\r\n",
    ),
    "json": ("application/json", b'{"file": "a.wav"}'),
}


@pytest.mark.parametrize("name", FORMS)
def test_malformed_forms_are_refused_with_a_reason(open_studio, name):
    kind, body = FORMS[name]

    async def work():
        async with open_studio() as (client, studio):
            for address in ("/api/voices", "/api/faces", "/api/gallery"):
                response = await client.post(address, content=body, headers={"content-type": kind})
                assert response.status_code in (400, 422) and response.json()["detail"]
            assert len(studio.store) == 0

    run(work())


@pytest.mark.parametrize(
    "body",
    [
        b'{"coupling": NaN}',
        b'{"seconds": Infinity}',
        b'{"chance": 1e400}',
        b'{"sex": "\\ud800"}',
        b"[" * 9000,
    ],
)
def test_numbers_that_are_none_are_refused(open_studio, body):
    async def work():
        async with open_studio() as (client, _):
            headers = {"content-type": "application/json"}
            response = await client.post("/api/inventions", content=body, headers=headers)
            assert response.status_code in (400, 422) and response.json()["detail"]

    run(work())


@pytest.mark.parametrize("text", ["%00", "%ff", "%f0%9f%92%a9", "..%2f..%2fx"])
def test_any_address_has_an_answer(open_studio, text):
    """Never an error of the program: what is not there is not there."""
    addresses = [
        f"/{text}",
        f"/static/{text}",
        f"/api/people/{text}/face.jpg",
        f"/api/people/{text}/clip",
        f"/api/voices/{text}/clip",
        f"/api/voices/{text}/answers?top=99999999999999999999",
        f"/api/faces/{text}/picture.jpg",
        f"/api/candidates/{text}/clip",
        f"/api/evaluations/trials?name={text}",
    ]

    async def work():
        async with open_studio() as (client, _):
            for address in addresses:
                response = await client.get(address)
                assert response.status_code in (404, 422) and response.json()["detail"], address

    run(work())
