"""Galleries in Chroma, embedded and on its own server, with several clients at once."""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from scale_extras import require

require("chromadb")

from voiceface.__main__ import main  # noqa: E402
from voiceface.embeddings.table import EmbeddingTable  # noqa: E402
from voiceface.gallery import create_gallery, open_gallery  # noqa: E402
from voiceface.testing.contracts.galleries import GalleryContract, cosines, sample_vectors  # noqa: E402

NUMBERS = count()


class TestEmbedded(GalleryContract):
    engine = "chroma"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a server of Chroma; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "chroma"
    folder = tmp_path_factory.mktemp("chroma")
    words = [program, "run", "--host", "127.0.0.1", "--port", str(port), "--path", folder]
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        for _ in range(1200):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the server of Chroma has ended"
            time.sleep(0.1)
        yield f"chroma://127.0.0.1:{port}"
        process.terminate()


class TestServer(GalleryContract):
    engine = "chroma"

    @pytest.fixture
    def place(self, server):
        return f"{server}/faces{next(NUMBERS)}"


def test_four_clients_at_once_find_the_same(server):
    vectors, queries = sample_vectors(4000, 1), sample_vectors(40, 2)
    place = f"{server}/many"
    with create_gallery(place, vectors.shape[1]) as gallery:
        gallery.add([f"i{row}" for row in range(2000)], vectors[:2000])

    def ask(number):
        rows = range(2000 + 500 * number, 2500 + 500 * number)
        with open_gallery(place) as gallery:
            gallery.add([f"i{row}" for row in rows], vectors[rows])
            return gallery.search(queries[10 * number : 10 * number + 10], 10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    with open_gallery(place) as gallery:
        assert len(gallery) == 4000
        found = gallery.search(queries, 10)
    wanted = np.argsort(-cosines(queries, vectors), axis=1)[:, :10]
    shares = [len({each.item for each in a} & {f"i{row}" for row in b}) / 10 for a, b in zip(found, wanted)]
    assert np.mean(shares) >= 0.99


def test_commands_take_an_address(server, tmp_path, capsys):
    place, table = f"{server}/commands", tmp_path / "t.npz"
    EmbeddingTable([f"{row}.jpg" for row in range(9)], sample_vectors(9), "a" * 64).save(table)
    assert main(["gallery", "build", str(table), "--out", place]) == 0
    assert main(["gallery", "remove", place, "3.jpg"]) == 0
    assert main(["gallery", "add", place, str(table), "--existing", "skip"]) == 0
    assert "1 item added, 9 items in all" in capsys.readouterr().out
    assert main(["gallery", "search", place, str(table), "--top", "1"]) == 0
    assert capsys.readouterr().out.count("1  +1.0000") == 9
    assert main(["gallery", "info", place]) == 0
    assert "9 faces of length 24, engine chroma" in capsys.readouterr().out
    assert main(["gallery", "info", f"{server}/nothing"]) == 1
    assert f"no gallery at {server}/nothing" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_told():
    with pytest.raises(ConnectionError, match=r"chroma://127\.0\.0\.1:9/faces"):
        open_gallery("chroma://127.0.0.1:9/faces")
