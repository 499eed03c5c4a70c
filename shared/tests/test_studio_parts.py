"""Parts of the studio that need no server: storage, queues, inventions, settings."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from voiceface.studio import serve
from voiceface.studio.invention import SHAPE_LABELS, ask_oracle, build_identity, matching_accuracy
from voiceface.studio.queues import BusyError, CancelledError, Job, Worker
from voiceface.studio.schemas import InventionRequest
from voiceface.studio.storage import MediaStore, UnknownItemError, short_name
from voiceface.studio.voices import draw_spectrogram, outline


def test_items_expire_and_nothing_stays():
    now = [0.0]
    store = MediaStore(max_items=2, max_seconds=100, clock=lambda: now[0])
    first = store.add("voice", b"1", "../a.wav")
    assert first.path.read_bytes() == b"1" and first.name == "a.wav" and first.path.parent == store.folder
    with pytest.raises(UnknownItemError):
        store.get(first.id, "face")
    second = store.add("voice", b"2", "b.wav")
    now[0] = 60
    store.get(first.id, "voice")  # used again: the other one is the oldest
    store.add("voice", b"3", "c.wav")
    assert not second.path.exists() and first.path.exists()
    now[0] = 1000
    store.add("voice", b"4", "d.wav")
    assert not first.path.exists() and len(store) == 1
    store.close()
    assert not store.folder.exists()


def test_files_of_invented_people_stay(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"x")
    store = MediaStore()
    item = store.add_invented("voice", path, "A", "A.00001")
    store.remove(item.id)
    store.close()
    assert path.exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a/b\\c.wav", "c.wav"), ("x\x00\n\x1b[31m.wav", "x[31m.wav"), ("..", ".."), ("", "without a name")],
)
def test_names_are_shortened(given: str, shown: str):
    assert short_name(given) == shown


def test_jobs_come_in_order_and_cancelled_ones_never():
    worker = Worker("test", max_waiting=3)
    gate, seen = threading.Event(), []
    first = worker.submit(lambda _: gate.wait(10))
    while worker.num_waiting:
        pass
    second, third = (worker.submit(lambda _, n=n: seen.append(n)) for n in (2, 3))
    fourth = worker.submit(lambda _: seen.append(4))
    with pytest.raises(BusyError, match="3 others wait"):
        worker.submit(lambda _: None)
    second.cancel()
    gate.set()
    fourth.future.result(10)
    assert seen == [3, 4] and first.future.result() and third.future.done()
    worker.close()


def test_a_running_job_ends_at_its_next_step():
    worker = Worker("test")
    begun = threading.Event()

    def work(job: Job) -> None:
        begun.set()
        while True:
            job.check()

    job = worker.submit(work)
    begun.wait(10)
    job.cancel()
    with pytest.raises(CancelledError):
        job.future.result(10)
    with pytest.raises(ValueError, match="reason"):
        worker.submit(_fail).future.result(10)
    assert worker.submit(lambda _: 5).future.result(10) == 5  # the thread goes on
    worker.close()


def _fail(_: Job) -> None:
    raise ValueError("a reason")


def test_the_face_shares_the_factors_as_far_as_they_are_coupled():
    factors = [1.5, -1.0, 0.5, 0, 0, 0, 0, 2.0]
    coupled = build_identity(InventionRequest(factors=factors, coupling=1, sex="man"))
    assert coupled.face_factors[0].tolist() == factors and coupled.sex[0] == 1 and coupled.age[0] == 68
    free = build_identity(InventionRequest(factors=factors, coupling=0, chance=3))
    assert np.abs(free.face_factors - factors).max() > 0.5
    assert np.array_equal(
        free.face_factors, build_identity(InventionRequest(coupling=0, chance=3)).face_factors
    )
    assert not np.array_equal(
        free.face_factors, build_identity(InventionRequest(coupling=0, chance=4)).face_factors
    )


def test_the_oracle_knows_everything_or_nothing():
    factors = [1.0] * 8
    everything = ask_oracle(build_identity(InventionRequest(factors=factors, coupling=1)))
    assert everything.accuracy > 0.999 and everything.rank == 1 and max(everything.explained) > 0.6
    nothing = ask_oracle(build_identity(InventionRequest(factors=factors, coupling=0)))
    assert nothing.accuracy == 0.5 and nothing.ratio == 0 and max(nothing.explained) == 0
    assert 0.4 < nothing.rank / nothing.candidates < 0.6
    half = [matching_accuracy(coupling) for coupling in (0.2, 0.5, 0.8)]
    assert half == sorted(half) and 0.5 < half[0] < half[2] < 1


def test_every_shape_number_has_a_name():
    from voiceface.synthetic.head.shape_space import SHAPE_NAMES

    assert tuple(SHAPE_LABELS) == SHAPE_NAMES and len(set(SHAPE_LABELS.values())) == 40


def test_a_tone_is_where_it_belongs_in_the_spectrogram():
    from PIL import Image

    tone = np.sin(2 * np.pi * 2000 * np.arange(16000) / 16000).astype(np.float32)
    image = np.asarray(Image.open(io.BytesIO(draw_spectrogram(tone))).convert("L"), float)
    row = image.mean(1).argmax()
    assert abs(1 - row / len(image) - 2000 / 8000) < 0.02  # low frequencies at the bottom
    levels = outline(np.concatenate([np.zeros(8000), tone]), 10)
    assert max(levels) == 1 and levels[:3] == [0, 0, 0]


def test_the_command_refuses_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="--token"):
        serve.main(["--host", "0.0.0.0"])
    with pytest.raises(FileNotFoundError, match="--gallery"):
        serve.main(["--gallery", str(tmp_path / "absent")])
    with pytest.raises(ValueError, match="--port"):
        serve.main(["--port", "70000"])
    monkeypatch.setattr(serve, "PACKAGES", {"a_package_that_nobody_has": "some-package"})
    with pytest.raises(ModuleNotFoundError, match=r"some-package: pip install 'voiceface-shared\[web\]'"):
        serve.main([])
