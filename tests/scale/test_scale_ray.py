"""Work by the actors of a Ray cluster of this machine: the same tables, whatever is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scale_extras

scale_extras.require("ray", "seeking_shape")

import ray  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from ray_work import FatalWord, Missing, Word, make_job  # noqa: E402
from seeking_shape.__main__ import main as seeking_shape  # noqa: E402
from voiceface.__main__ import main as voiceface  # noqa: E402
from voiceface.association.shard_embedding import join_shards  # noqa: E402
from voiceface.audio.loading import write_wav  # noqa: E402
from voiceface.embeddings.parts import list_parts, merge_parts  # noqa: E402
from voiceface.embeddings.table import EmbeddingTable  # noqa: E402
from voiceface.engines.interface import LocalEngine, open_engine  # noqa: E402
from voiceface.engines.units import EngineError, Failure  # noqa: E402
from voiceface.testing.silence import synthesise_voices  # noqa: E402

ENGINES = {"local": ["--engine", "local"], "ray": ["--engine", "ray", "--actors", "1"]}
SHARED_TESTS = Path(__file__).parents[2] / "shared" / "tests"
sys.path.append(str(SHARED_TESTS))  # decoding processes take over the path when they start


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Six recordings and six pictures; one of each is corrupt."""
    folder = tmp_path_factory.mktemp("media")
    noise = np.random.default_rng(0)
    for number, voice in enumerate(synthesise_voices(6, 2.0)):
        write_wav(folder / f"v{number}.wav", voice)
        pixels = noise.integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"f{number}.jpg")
    (folder / "v2.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVE no sound")
    (folder / "f3.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """The number of threads changes the last bits of a network; an actor of one core has one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine, which engines of this process use."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    os.environ |= {"RAY_worker_niceness": "0"}  # 15 by default: actors would wait for all other work
    os.environ |= {"RAY_gcs_server_port_wait_time_s": "180"}  # seconds, as the engine
    folders = (Path(__file__).parent, SHARED_TESTS)  # of modules that actors import
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, folders))
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def assert_equal(table, other):
    assert table.items == other.items
    assert np.array_equal(table.vectors, other.vectors)
    assert (table.failed, dict(table.facts)) == (other.failed, dict(other.facts))


@pytest.mark.usefixtures("cluster")
def test_both_engines_write_the_same_table(media, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(media.parent)
    tables, messages = [], []
    for engine in ENGINES:
        out = tmp_path / f"{engine}.npz"
        words = ["embed", media.name, "population:tiny?people=3", "--out", str(out)]
        words += ["--crop", "never", "--workers", "1"]
        assert seeking_shape([*words, *ENGINES[engine]]) == 0
        tables.append(out.read_bytes())
        messages.append(capsys.readouterr().err)
    assert tables[0] == tables[1]
    assert messages[0] == messages[1]
    assert len(EmbeddingTable.load(tmp_path / "ray.npz")) == 10 + 12


@pytest.mark.usefixtures("cluster")
def test_a_folder_of_parts_is_a_table_and_makes_a_gallery(media, tmp_path):
    out = tmp_path / "parts"
    words = ["embed", str(media), "--relative-to", str(media), "--crop", "never", "--out", str(out)]
    assert seeking_shape([*words, *ENGINES["ray"]]) == 0
    table = merge_parts([EmbeddingTable.load(path) for path in list_parts(out)])
    assert table.items == [f"v{n}.wav" for n in (0, 1, 3, 4, 5)] + [f"f{n}.jpg" for n in (0, 1, 2, 4, 5)]
    assert set(table.failed) == {"v2.wav", "f3.jpg"}
    gallery = ["gallery", "build", str(out), "--only", "faces", "--out", str(tmp_path / "gallery")]
    assert voiceface(gallery) == 0


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_costs_nothing(media, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    killed = []

    def kill_the_first():
        while not killed:
            for entry in pids.iterdir():
                killed.append(int(entry.name))
                os.kill(killed[0], signal.SIGKILL)
                break
            time.sleep(0.05)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    engine = open_engine("ray", actors=1, progress=False)
    table = join_shards(engine, [make_job(media, pids, 0.5)], str(tmp_path / "parts"))
    killer.join()
    assert len({int(entry.name) for entry in pids.iterdir()}) == 2, "another actor took its place"
    local = join_shards(LocalEngine(progress=False), [make_job(media)], str(tmp_path / "local"))
    assert_equal(table, local)


@pytest.mark.usefixtures("cluster")
def test_an_item_that_ends_its_process_costs_itself():
    units = [Word(("a", "bb", "kill", "dddd")), Word(("error", "ff")), Word(("ggg",))]
    found = sorted(open_engine("ray", actors=2, progress=False).map(FatalWord(), units), key=_order)
    values = [result for _, result in found]
    assert values[0] == [1, 2]
    assert isinstance(values[1], Failure)
    assert "the process that read it ended" in values[1].reason
    assert values[2] == [4]
    assert values[3] == Failure("RuntimeError: a word that cannot be measured")
    assert values[4:] == [[2], [3]]


def _order(found):
    return found[0].number, found[0].place


@pytest.mark.usefixtures("cluster")
def test_workers_that_cannot_start_and_absent_devices_are_told():
    with pytest.raises(EngineError, match=r"could not start: FileNotFoundError: no weights here"):
        list(open_engine("ray", progress=False).map(Missing(), [Word(("a",))]))
    with pytest.raises(EngineError, match="the Ray cluster has no GPU"):
        list(open_engine("ray", device="cuda", progress=False).map(FatalWord(), [Word(("a",))]))


def test_a_run_whose_driver_is_killed_goes_on_where_it_was(media, tmp_path):
    parts, pids = tmp_path / "parts", tmp_path / "pids"
    pids.mkdir()
    program = Path(__file__).with_name("ray_work.py")
    command = [sys.executable, str(program), str(media), str(parts), str(pids)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(parts.glob("part-*.parquet")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        made = {path: path.stat().st_mtime_ns for path in parts.glob("part-*.parquet")}
        for pid in [int(entry.name) for entry in pids.iterdir()]:
            _wait_for_the_end(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    local = join_shards(LocalEngine(progress=False), [make_job(media)], str(tmp_path / "local"))
    assert 0 < len(made) < len(list((tmp_path / "local").iterdir()))
    table = join_shards(LocalEngine(progress=False), [make_job(media)], str(parts))
    assert_equal(table, local)
    assert all(path.stat().st_mtime_ns == when for path, when in made.items()), "finished parts are kept"


def _wait_for_the_end(pid):
    """Actors end with the program that started them."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("cluster")
def test_both_engines_encode_the_same_table(media, tmp_path):
    words = ["encode", "--encoder", "seeking_shape", "--crop", "never", "--workers", "1"]
    words += ["--voices", str(media), "--faces", str(media)]
    for engine in ENGINES:
        assert voiceface([*words, *ENGINES[engine], "--out", str(tmp_path / f"{engine}.npz")]) == 0
    assert (tmp_path / "local.npz").read_bytes() == (tmp_path / "ray.npz").read_bytes()
    assert voiceface([*words, *ENGINES["ray"], "--out", str(tmp_path / "parts")]) == 0
    parts = [EmbeddingTable.load(path) for path in list_parts(tmp_path / "parts")]
    whole, joined = EmbeddingTable.load(tmp_path / "ray.npz"), merge_parts(parts)
    assert (joined.items, joined.fingerprint) == (whole.items, whole.fingerprint)
    assert np.array_equal(joined.vectors, whole.vectors) and len(parts) == 2


@pytest.mark.usefixtures("cluster")
def test_both_engines_prepare_the_same_data_folder(tmp_path):
    from fake_videos import write_fake_video
    from prepare_calls import content, prepare, write_four

    videos = write_four(tmp_path / "videos")
    write_fake_video(videos / "e.mp4", fails="crash")
    engine = open_engine("ray", actors=2, progress=False)
    local, ray = prepare(videos, tmp_path / "local"), prepare(videos, tmp_path / "ray", engine=engine)
    assert content(tmp_path / "local") == content(tmp_path / "ray")
    assert local.failed == ray.failed
    assert "SIGSEGV" in ray.failed["e.mp4"]
