"""Speed of the voice synthesiser: audio made in one CPU second of one thread, and where the time goes.

OMP_NUM_THREADS=1 python benchmarks/population_voice.py --clips 40 --seconds 4
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from voiceface.population.people import draw_people
from voiceface.population.phones import plan_speech
from voiceface.population.voice import speak, synthesise_clip

TARGET = 100.0  # seconds of audio per CPU second


def cpu_seconds(function: Callable[[int], object], rounds: int) -> float:
    """CPU seconds of `rounds` calls after one for warming up."""
    function(0)
    start = time.process_time()
    for i in range(rounds):
        function(i)
    return time.process_time() - start


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=40, help="how many clips")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip, s")
    options = parser.parse_args(argv)
    clips, seconds = options.clips, options.seconds
    people = draw_people(np.arange(clips))
    plans = [plan_speech(people, i, 0, seed=0, seconds=seconds) for i in range(clips)]

    whole = cpu_seconds(lambda i: synthesise_clip(people, i, 0, seconds=seconds), clips)
    plan = cpu_seconds(lambda i: plan_speech(people, i, 0, seed=0, seconds=seconds), clips)
    dry = cpu_seconds(lambda i: speak(people, i, plans[i], seed=0, clip=0, seconds=seconds), clips)
    identities = cpu_seconds(lambda i: draw_people(np.arange(10_000) + i), 3) / 3

    print(f"clips {clips / whole:.1f} items/s ({1000 * whole / clips:.1f} ms a clip of {seconds:g} s)")
    speed = clips * seconds / whole
    print(f"audio {speed:.1f} s per CPU second, ratio to target {speed / TARGET:.2f}")
    print(f"speech plan ratio {plan / whole:.2f}")
    print(f"source and tract ratio {dry / whole:.2f}")
    print(f"channel and level ratio {max(0.0, whole - plan - dry) / whole:.2f}")
    print(f"identities {10_000 / identities:.0f} items/s")


if __name__ == "__main__":
    main()
