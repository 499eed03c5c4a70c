"""Speech of rendered videos that comes to the face that speaks, and speech that comes to a wrong one.

    python benchmarks/speech_attribution.py --seed 22 --videos 60

Renders videos of every kind (people, scenes, voices and motion follow from seed and number), follows the
faces with the networks of `voiceface models get real`, and compares `attribute_speech` with the truth. Beside
the sound itself, the same faces get it played backward, and the sound of other videos: mouths that speak
other words, whose speech must be refused. Thresholds were chosen on seed 21.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from timing import add_report_arguments
from voiceface.faces.finding import load_face_finder
from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.talking_heads import TalkingVideo, render_talking_video
from voiceface.synthetic.talking_heads.scenes import VIDEO_KINDS, sample_scenes
from voiceface.synthetic.talking_heads.scoring import score_speech
from voiceface.videos.active_speaker import attribute_speech
from voiceface.videos.sound import read_sound
from voiceface.videos.tracks import VideoFaces, find_face_tracks

GOAL_RIGHT, GOAL_WRONG = 0.95, 0.02
NUM_IDENTITIES = 1000
OTHER_SOUNDS = 3  # of other videos, for each


class Job(NamedTuple):
    """One video."""

    folder: Path
    seed: int
    number: int
    frame_rate: float


class Watched(NamedTuple):
    """Truth, faces and sound of one video."""

    video: TalkingVideo
    faces: VideoFaces
    sound: np.ndarray


def watch(job: Job) -> Watched:
    """Render a video and follow its faces."""
    rng = np.random.default_rng([job.seed, job.number])
    kind = VIDEO_KINDS[job.number % len(VIDEO_KINDS)]
    people = [int(each) for each in rng.choice(NUM_IDENTITIES, 3, replace=False)]
    path = job.folder / f"{kind}_{job.number:03d}.mp4"
    scenes = sample_scenes(kind, people, rng)
    number = NUM_IDENTITIES * job.seed + job.number
    video = render_talking_video(path, scenes, number=number, frame_rate=job.frame_rate)
    return Watched(
        video, find_face_tracks(path, load_face_finder("onnxruntime"), max_images=1), read_sound(path)
    )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="speech_attribution", description=__doc__)
    parser.add_argument("--seed", type=int, default=22, help="of people, scenes and motion (default 22)")
    parser.add_argument("--videos", type=int, default=60, help="to render (default 60)")
    parser.add_argument("--frame-rate", type=float, default=15.0, help="images a second (default 15)")
    parser.add_argument("--workers", type=int, help="processes (default: every core)")
    add_report_arguments(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(Path(folder), args.seed, number, args.frame_rate) for number in range(args.videos)]
        made = dict(map_unordered(watch, jobs, args.workers, "videos", "video"))
    watched = [made[job] for job in jobs]
    scores = [
        score_speech(attribute_speech(each.sound, each.faces), each.faces, each.video) for each in watched
    ]
    visible = [right for score in scores for _, right in score.visible]
    attributed = [right for score in scores for _, right in score.attributed]
    backward = [
        each.track is not None
        for one in watched
        for each in attribute_speech(np.ascontiguousarray(one.sound[::-1]), one.faces)
    ]
    others = [
        each.track is not None
        for number, one in enumerate(watched)
        for step in range(1, min(OTHER_SOUNDS, len(watched) - 1) + 1)
        for each in attribute_speech(
            np.resize(watched[(number + step) % len(watched)].sound, len(one.sound)), one.faces
        )
    ]
    rows = [
        ("speech of somebody seen, attributed rightly", sum(visible), len(visible)),
        ("attributed segments that are wrong", len(attributed) - sum(attributed), len(attributed)),
        ("segments attributed, sound played backward", sum(backward), len(backward)),
        ("segments attributed, sound of another video", sum(others), len(others)),
    ]
    table = [
        {"subject": name, "count": count, "of": total, "share": round(count / max(total, 1), 4)}
        for name, count, total in rows
    ]
    print(json.dumps(table, indent=2))
    if args.out:
        args.out.write_text(json.dumps(table, indent=2) + "\n")
    for score in scores:
        for name, right in score.visible:
            if not right:
                print(f"missed: {name}")
        for name, right in score.attributed:
            if not right:
                print(f"wrong: {name}")
    wrong = len(attributed) - sum(attributed)
    missed = sum(visible) < GOAL_RIGHT * len(visible) or wrong > GOAL_WRONG * len(attributed)
    return int(args.strict and missed)


if __name__ == "__main__":
    raise SystemExit(main())
