"""Two processes that torchrun starts, as a user does: the losses of one process with the same whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from voiceface.synthetic.writer import write_population

TINY = [
    "model.face.image_size=32",
    "model.face.widths=[8,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.face.num_features=16",
    "model.voice.widths=[8,8,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.voice.num_features=16",
    "model.embedding_dim=16",
    "data.clip_samples=8000",
    "data.crop_samples=[4000,8000]",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
    "training.validation_interval=null",
    "training.max_steps=4",
    "optimiser.lr=0.001",
    "weights.warm_up=2",
    "weights.update_interval=2",
]


def losses(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("time", "seconds")} for row in rows]


def test_torchrun_takes_the_steps_of_one_process(tmp_path: Path) -> None:
    data = tmp_path / "people"
    sizes = {"train": 10, "val": 0, "test": 0, "clips": 1, "images": 1, "clip_seconds": 0.5}
    write_population(data, "tiny", workers=1, progress=False, lists=False, render_size=32, **sizes)  # type: ignore[arg-type]

    def words(name: str) -> list[str]:
        where = ["--cfg", "reweight", "--data", str(data), "--out", str(tmp_path / name), "--threads", "1"]
        return ["-m", "seeking_shape.train", *where, "--device", "cpu", *TINY]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in (words("one"), [*torchrun, *words("two")]):
        done = subprocess.run(
            [sys.executable, *start],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 5
    for mine, other in zip(two, one):
        assert mine == pytest.approx(other, rel=2e-5, abs=2e-6)
