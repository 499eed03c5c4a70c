"""Who may call the studio, and how much they may send."""

import asyncio

import pytest
from voiceface.studio.settings import Limits, StudioSettings

from conftest import run

TOKEN = "a-token-of-a-test-01"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "127.0.0.1:9", "", "a:b:c"])
def test_a_name_that_somebody_made_point_here_is_refused(open_studio, host):
    async def work():
        async with open_studio() as (client, _):
            response = await client.get("/api/state", headers={"host": host})
            assert response.status_code == 421
            assert (await client.get("/api/state", headers={"host": "localhost:8000"})).status_code == 200

    run(work())


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_a_page_of_another_site_cannot_send(open_studio, headers):
    async def work():
        async with open_studio() as (client, studio):
            files = {"file": ("a.wav", b"RIFF")}
            response = await client.post("/api/voices", files=files, headers=headers)
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers
            preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
            answer = await client.options("/api/voices", headers=preflight)
            assert answer.status_code == 403
            assert len(studio.store) == 0

    run(work())


def test_every_answer_forbids_everything_from_outside(open_studio):
    async def work():
        async with open_studio() as (client, _):
            for address in ("/", "/docs", "/api/state", "/static/no.js", "/api/voices/x/answers"):
                headers = (await client.get(address)).headers
                assert "default-src 'none'" in headers["content-security-policy"], address
                assert "unsafe" not in headers["content-security-policy"]
                assert headers["x-content-type-options"] == "nosniff"

    run(work())


def test_pages_load_nothing_from_outside():
    from voiceface.studio.page_files import STATIC_FILES

    for name, (content, _) in STATIC_FILES.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and 'src="//' not in text, name


def test_the_token_is_needed_by_every_call(open_studio):
    async def work():
        async with open_studio(host="0.0.0.0", token=TOKEN) as (client, _):
            for address in ("/", "/docs", "/api/state", "/openapi.json", "/static/dom.js"):
                assert (await client.get(address)).status_code == 401, address
            wrong = {"authorization": "Bearer a-token-of-a-test-02"}
            assert (await client.get("/api/state", headers=wrong)).status_code == 401
            right = {"authorization": f"Bearer {TOKEN}"}
            assert (await client.get("/api/state", headers=right)).status_code == 200
            assert (await client.get("/?token=wrong")).status_code == 401
            entered = await client.get(f"/?token={TOKEN}")
            assert entered.status_code == 303 and entered.headers["location"] == "/"
            assert (
                "HttpOnly" in entered.headers["set-cookie"]
                and "SameSite=Strict" in entered.headers["set-cookie"]
            )
            assert (await client.get("/api/state")).status_code == 200  # by the cookie

    run(work())


def test_a_proxy_may_stand_in_front(open_studio):
    async def work():
        async with open_studio(host="0.0.0.0", token=TOKEN) as (client, _):
            headers = {"host": "studio.example", "authorization": f"Bearer {TOKEN}"}
            assert (await client.get("/api/state", headers=headers)).status_code == 200
            sent = {**headers, "origin": "https://studio.example"}
            assert (await client.post("/api/inventions", json={}, headers=sent)).status_code == 200

    run(work())


def test_an_open_door_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="--token"):
        StudioSettings(host="0.0.0.0")
    with pytest.raises(ValueError, match="expected 16"):
        StudioSettings(token="short")
    with pytest.raises(ValueError, match="ASCII"):
        StudioSettings(token='sixteen letters"; x')


def test_a_large_upload_is_refused_by_its_stated_size(open_studio):
    async def work():
        async with open_studio(limits=Limits(upload_bytes=1000)) as (client, studio):
            files = {"file": ("a.wav", b"0" * 200_000)}
            response = await client.post("/api/voices", files=files)
            assert response.status_code == 413 and "at most" in response.json()["detail"]
            assert len(studio.store) == 0

    run(work())


def test_an_endless_upload_ends_while_it_is_read(open_studio):
    sent = 0

    async def endless():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(1000):
            sent += 100_000
            yield b"0" * 100_000

    async def work():
        async with open_studio(limits=Limits(upload_bytes=1_000_000)) as (client, studio):
            headers = {"content-type": "multipart/form-data; boundary=b"}
            response = await client.post("/api/voices", content=endless(), headers=headers)
            assert response.status_code == 413
            assert sent < 3_000_000
            assert len(studio.store) == 0

    run(work())


def test_a_slow_upload_ends(open_studio):
    async def slow():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        await asyncio.sleep(30)
        yield b"0"

    async def work():
        async with open_studio(limits=Limits(upload_seconds=0.3)) as (client, _):
            headers = {"content-type": "multipart/form-data; boundary=b"}
            response = await client.post("/api/voices", content=slow(), headers=headers)
            assert response.status_code == 408

    run(work())


def test_a_large_body_elsewhere_is_refused(open_studio):
    async def work():
        async with open_studio() as (client, _):
            response = await client.post("/api/inventions", content=b"[" * 200_000)
            assert response.status_code == 413
            response = await client.post("/api/inventions", content=b"[" * 60_000)
            assert response.status_code == 422

    run(work())


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://["},
        {"host": "[::1"},
        {"host": "127.0.0.1:99999999"},
        {"content-length": b"\xb2"},
        {"content-length": "9" * 5000},
        {"authorization": b"Bearer \xff", "cookie": b"voiceface_token=\xff; ="},
    ],
)
def test_malformed_headers_are_refused(open_studio, headers):
    async def work():
        async with open_studio(token=TOKEN) as (client, _):
            known = {"authorization": f"Bearer {TOKEN}"}
            response = await client.post("/api/inventions", content=b"{}", headers={**known, **headers})
            assert response.status_code in (400, 401, 413, 421), response.status_code
            assert response.json()["detail"]

    run(work())


def test_a_page_of_another_site_starts_no_work(open_studio):
    async def work():
        async with open_studio() as (client, studio):
            for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
                assert (await client.get("/api/people", headers=headers)).status_code == 403
            assert not studio.has_people
            assert (
                await client.get("/", headers={"sec-fetch-site": "cross-site"})
            ).status_code == 200  # a link

    run(work())


def test_a_wrong_token_in_a_link_takes_nobody_s_place(open_studio):
    async def work():
        async with open_studio(host="0.0.0.0", token=TOKEN) as (client, _):
            await client.get(f"/?token={TOKEN}")
            for wrong in ("wrong", "x%0d%0aset-cookie:%20a=b", "%ff"):
                response = await client.get(f"/?token={wrong}")
                assert response.status_code == 303 and "set-cookie" not in response.headers
            assert (await client.get("/api/state")).status_code == 200

    run(work())


def test_many_large_uploads_at_once_are_refused(open_studio):
    """What all visitors send at the same time has a limit, too; it is free again when they have ended."""
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}

    async def work():
        wait = asyncio.Event()

        async def first():
            yield part + b"0" * 80_000
            await wait.wait()
            yield b"\r\n--b--\r\n"

        async with open_studio(limits=Limits(uploading_bytes=100_000)) as (client, _):
            running = asyncio.create_task(client.post("/api/voices", content=first(), headers=headers))
            await asyncio.sleep(0.1)
            body = part + b"0" * 40_000 + b"\r\n--b--\r\n"
            assert (await client.post("/api/voices", content=body, headers=headers)).status_code == 503
            wait.set()
            assert (await running).status_code == 422
            assert (await client.post("/api/voices", content=body, headers=headers)).status_code == 422

    run(work())
