"""Batches of a training run of either stage, ready for `sf2f.training_step.train_step`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from voiceface.datasets.augmentation import build_voice_augmentation

from sf2f.config import Sf2fConfig
from sf2f.image_transforms import normalise
from sf2f.sampling import FaceUtterancePairs, FaceWindowSets, crop_to_length, sample_crop_length
from sf2f.speakers import Speakers
from sf2f.training_step import Batch

if TYPE_CHECKING:
    from voiceface.training.run import Run

__all__ = [
    "iter_batches",
]


def iter_batches(run: "Run", config: Sf2fConfig, speakers: Speakers) -> Iterator[Batch]:
    """Iterate over batches from the current step of a run; batch t is a function of seed and t.

    Stage 1: a face and a clip of one shared length for each identity. Stage 2: a face and the windows of each
    identity, with a mask for padding.

    Raises:
        ValueError: fewer identities than the batch size.
    """
    data, training = config.data, config.training
    size = (config.generator.image_sizes[-1],) * 2
    options: dict[str, Any] = {
        "flip_probability": data.images.flip_probability,
        "mirror_average": data.images.mirror_average,
        "augmentation": build_voice_augmentation(data.augmentation),
    }
    frames = data.frames.min_crop, data.frames.max_crop
    dataset: FaceUtterancePairs | FaceWindowSets
    if config.stage == 1:
        dataset = FaceUtterancePairs(speakers, size, frames, data.mel, **options)
    else:
        dataset = FaceWindowSets(speakers, size, data.windows, data.mel, **options)
    if len(speakers) < training.batch_size:
        raise ValueError(
            f"training.batch_size is {training.batch_size}, but there are only {len(speakers)} identities; "
            "a batch holds each identity at most once. Reduce training.batch_size"
        )
    step = run.step
    for item in run.batches(
        dataset, training.batch_size, max_steps=training.max_steps, num_workers=training.num_workers
    ):
        faces = normalise(item["face"], data.images.statistics)
        if config.stage == 1:
            clips = crop_to_length(item, sample_crop_length(frames, run.seed, step))
            yield Batch(clips["mel"], faces, clips["label"])
        else:
            yield Batch(item["windows"], faces, item["label"], item["mask"])
        step += 1
