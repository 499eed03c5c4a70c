"""Batches of a run of either stage, ready for `sf2f.training_step.iterate`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sf2f.config import Sf2fConfig
from sf2f.image_transforms import normalise
from sf2f.sampling import Pairs, PeopleInWindows, cut_to_shared_length, shared_length
from sf2f.speakers import Speakers
from sf2f.training_step import Batch

if TYPE_CHECKING:
    from voiceface.training.run import Run


def batches_of(run: "Run", config: Sf2fConfig, speakers: Speakers) -> Iterator[Batch]:
    """Batches from the present step of a run on; batch t is a function of seed and t.

    Stage 1: a face and a window of one shared length of each person. Stage 2: a face and the windows of each
    person, with a mask where people have fewer of them.

    Raises:
        ValueError: fewer people than a batch holds.
    """
    data, plan = config.data, config.training
    side = config.generator.sides[-1]
    how: dict[str, Any] = {"flip": data.pictures.flip, "mirror_average": data.pictures.mirror_average}
    frames = data.frames.shortest, data.frames.longest
    drawn: Pairs | PeopleInWindows
    if config.stage == 1:
        drawn = Pairs(speakers, (side, side), frames, data.mel, **how)
    else:
        drawn = PeopleInWindows(speakers, (side, side), data.windows, data.mel, **how)
    if len(speakers) < plan.batch_size:
        raise ValueError(
            f"training.batch_size is {plan.batch_size}, but there are {len(speakers)} people: a batch holds "
            "each person once at most; make it smaller"
        )
    step = run.step
    for item in run.batches(drawn, plan.batch_size, steps=plan.max_iter, workers=plan.workers):
        faces = normalise(item["face"], data.pictures.statistics)
        if config.stage == 1:
            cut = cut_to_shared_length(item, shared_length(frames, run.seed, step))
            yield Batch(cut["mel"], faces, cut["label"])
        else:
            yield Batch(item["windows"], faces, item["label"], item["present"])
        step += 1
