"""`voiceface prepare` on files that pass for videos: one call, and what it made."""

import csv
from pathlib import Path

from fake_videos import NETWORKS, PROBE, STEP, speaker, write_fake_video
from voiceface.preparation.dataset import prepare_dataset
from voiceface.preparation.settings import GatherSettings

FEW = GatherSettings(min_clips=1, min_images=1, check_voices=False)


def prepare(videos, out, settings=FEW, **more):
    options = {"networks": NETWORKS, "probe": PROBE, "step": STEP, "progress": False, "workers": 1, **more}
    return prepare_dataset([videos] if isinstance(videos, Path) else videos, out, None, settings, **options)


def people(done):
    """Person -> number of clips and images."""
    return {each.name: (len(each.clips), len(each.images)) for each in done.gathering.people}


def reasons(done):
    return {(kind, reason): number for kind, reason, number in done.gathering.counts_by_reason()}


def content(folder):
    """Every file of a data folder but the empty lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(out):
    with (out / "clusters.csv").open() as file:
        return list(csv.DictReader(file))


def edit(out, change):
    """Rewrite the column `person`."""
    rows = table(out)
    for row in rows:
        row["person"] = change(row)
    with (out / "clusters.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_four(folder):
    """Faces 1 and 2 in two videos each, and face 3 in one; the second video shows two people."""
    write_fake_video(folder / "a.mp4", [speaker(1, 0, 6), speaker(1, 8, 20)])
    write_fake_video(folder / "b.mov", [speaker(1, 1, 5), speaker(2, 6, 10)], seed=1)
    write_fake_video(folder / "c.webm.mp4", [speaker(2, 2, 7)], seed=2)
    write_fake_video(folder / "d.mp4", [speaker(3, 2, 7)], seed=3)
    return folder
