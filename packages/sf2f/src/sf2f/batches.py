"""Batches of a run of either stage, ready for `sf2f.training_step.train_step`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sf2f.config import Sf2fConfig
from sf2f.image_transforms import normalise
from sf2f.sampling import FaceUtterancePairs, FaceWindowSets, crop_to_length, sample_crop_length
from sf2f.speakers import Speakers
from sf2f.training_step import Batch

if TYPE_CHECKING:
    from voiceface.training.run import Run


def iter_batches(run: "Run", config: Sf2fConfig, speakers: Speakers) -> Iterator[Batch]:
    """Batches from the present step of a run on; batch t is a function of seed and t.

    Stage 1: a face and a window of one shared length of each person. Stage 2: a face and the windows of each
    person, with a mask where people have fewer of them.

    Raises:
        ValueError: fewer people than a batch holds.
    """
    data, plan = config.data, config.training
    side = config.generator.image_sizes[-1]
    options: dict[str, Any] = {
        "flip_probability": data.images.flip_probability,
        "mirror_average": data.images.mirror_average,
    }
    frames = data.frames.min_crop, data.frames.max_crop
    drawn: FaceUtterancePairs | FaceWindowSets
    if config.stage == 1:
        drawn = FaceUtterancePairs(speakers, (side, side), frames, data.mel, **options)
    else:
        drawn = FaceWindowSets(speakers, (side, side), data.windows, data.mel, **options)
    if len(speakers) < plan.batch_size:
        raise ValueError(
            f"training.batch_size is {plan.batch_size}, but there are {len(speakers)} people: a batch holds "
            "each person once at most; make it smaller"
        )
    step = run.step
    for item in run.batches(drawn, plan.batch_size, max_steps=plan.max_steps, num_workers=plan.num_workers):
        faces = normalise(item["face"], data.images.statistics)
        if config.stage == 1:
            cut = crop_to_length(item, sample_crop_length(frames, run.seed, step))
            yield Batch(cut["mel"], faces, cut["label"])
        else:
            yield Batch(item["windows"], faces, item["label"], item["mask"])
        step += 1
