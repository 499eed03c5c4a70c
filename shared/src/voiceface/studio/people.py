"""Invented people that are at hand: test identities of the population, which no bundled weights know."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["InventedPerson", "write_people"]


@dataclass(frozen=True)
class InventedPerson:
    """One invented person.

    Attributes:
        id: name in the population, such as "Brumo_Tal.00042".
        name: the same for readers.
        gender: "woman" or "man".
        voice, face: its recording and its picture.
    """

    id: str
    name: str
    gender: str
    voice: Path
    face: Path


def write_people(cache: Path, count: int) -> tuple[Path, list[InventedPerson]]:
    """Write the people, or find them as they were written before.

    Args:
        cache: folder of the studio.
        count: number of people, at most 193.

    Returns:
        The population folder, and its people.

    Raises:
        PopulationError, OSError: the folder cannot be used.
    """
    from voiceface.synthetic.layout import build_settings, clip_path, get_face_name, image_path
    from voiceface.synthetic.writer import write_population

    settings = build_settings("quick", train=0, val=0, test=count, clips=1, images=1, render_size=128)
    folder = cache / f"people {settings.generator} {count}".replace(", ", " ").replace(" ", "_")
    write_population(folder, settings, workers=1, lists=False, progress=False)
    ids = settings.ids("test")
    sexes = settings.sample_identities(ids).sex.tolist()
    people = []
    for k, sex in zip(ids, sexes):
        name = get_face_name(k, settings)
        people.append(
            InventedPerson(
                name,
                name.partition(".")[0].replace("_", " "),
                ("woman", "man")[sex],
                folder / "wav" / clip_path(k, 0, settings),
                folder / "faces" / image_path(k, 0, settings),
            )
        )
    return folder, people
