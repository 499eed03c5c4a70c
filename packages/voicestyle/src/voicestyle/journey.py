"""The seven steps in a folder: every intermediate is kept, and a stopped way goes on where it was.

    OUT/config.yaml                 what was asked for
    OUT/journey.json                weights, bank and voices it was made with
    OUT/bank.safetensors            embeddings of the bank's pictures
    OUT/inversions/NAME.{png,safetensors}   step 4: picture and its inversion; code, noise maps, losses
    OUT/voices/PLACE/steps.json     steps 1 to 3: prototypes, videos, chosen pictures
    OUT/voices/PLACE/start.png      step 5, with start.safetensors
    OUT/voices/PLACE/path.safetensors, film.gif     step 6: codes on the way, losses, pictures of them
    OUT/faces/PLACE.png             step 7

Work in progress lies in OUT/state.safetensors, previews of it in OUT/preview.png.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cmpc2.lookup import Prototype
from numpy.typing import NDArray
from torch import Tensor
from voiceface.checkpoints.native import load_state, save_state
from voiceface.io.atomic import sha256_of, write_json, write_text
from voiceface.runtime.config import to_dict, to_yaml
from voiceface.runtime.process import Interrupts
from voiceface.training.run_directory import RunError, differences, plain

from voicestyle import steps
from voicestyle.bank import Bank
from voicestyle.config import VoiceStyleConfig
from voicestyle.descent import Path as Found
from voicestyle.film import write_film
from voicestyle.progress import (
    as_content,
    at_side,
    file_name,
    forget_state,
    from_content,
    kept_state,
    last_number,
    watch,
)
from voicestyle.selection import Chosen
from voicestyle.steps import Tools
from voicestyle.stylegan2.pictures import to_bytes, write_png

log = logging.getLogger(__name__)
IDENTITY = "journey.json"


@dataclass(frozen=True)
class Inverted:
    """A picture, and the code that makes one like it.

    Attributes:
        label: of the picture.
        code: (D,) or (L, D).
        target, picture: (s, s, 3) and (S, S, 3) uint8.
        losses: last values by name.
    """

    label: str
    code: Tensor
    target: NDArray[np.uint8]
    picture: NDArray[np.uint8]
    losses: dict[str, float]


@dataclass(frozen=True)
class Led:
    """What a voice led to, steps 1 to 3.

    Attributes:
        file: the recording.
        place: its name below the folder.
        voice: its embedding, (1, E).
        near: step 1, prototypes.
        rows: step 2, videos.
        chosen: step 3, pictures.
    """

    file: Path
    place: Path
    voice: Tensor
    near: list[Prototype]
    rows: list[int]
    chosen: list[Chosen]

    @property
    def name(self) -> str:
        """The place as text."""
        return self.place.as_posix()


@dataclass(frozen=True)
class Journey:
    """What became of one voice.

    Attributes:
        place: its name below the folder.
        voice: the recording.
        near: step 1, prototypes.
        rows: step 2, videos.
        chosen: step 3, pictures.
        inverted: step 4.
        start: step 5, (S, S, 3) uint8.
        start_fit: how well it fits the voice, cosine.
        path: step 6, of this voice alone.
        picture: step 7, (S, S, 3) uint8.
        fit: how well it fits the voice, cosine.
        film: pictures on the way, (K, S, S, 3) uint8.
    """

    place: Path
    voice: Path
    near: list[Prototype]
    rows: list[int]
    chosen: list[Chosen]
    inverted: list[Inverted]
    start: NDArray[np.uint8]
    start_fit: float
    path: Found
    picture: NDArray[np.uint8]
    fit: float
    film: NDArray[np.uint8]


def require_room(out: Path, resume: bool) -> None:
    """Make sure, before any work, that a folder can be begun with, or gone on with.

    Raises:
        RunError: it holds something else, or nothing to go on with.
    """
    if resume:
        if not (out / IDENTITY).is_file():
            raise RunError(f"nothing to resume in {out}: it has no {IDENTITY}; leave out --resume")
    elif out.is_dir() and any(item.name != "bank.safetensors" for item in out.iterdir()):
        raise RunError(
            f"{out} is not empty: give --resume to go on with what is in it, or another --out folder"
        )


def open_folder(out: Path, identity: dict[str, Any], config: VoiceStyleConfig, resume: bool) -> None:
    """Make the folder, or make sure that what lies in it is of the same way.

    Raises:
        RunError: it holds something else, or nothing to go on with.
    """
    require_room(out, resume)
    identity = plain({**identity, "config": to_dict(config)})
    place = out / IDENTITY
    if resume and (differing := differences(json.loads(place.read_text("utf-8")), identity)):
        raise RunError(
            f"{out} was made with other settings and cannot be resumed with these:\n  "
            + "\n  ".join(differing[:12])
            + "\nGive the same, or another --out folder"
        )
    for leftover in out.rglob(".*.part*"):
        leftover.unlink(missing_ok=True)
    write_text(out / "config.yaml", to_yaml(config))
    write_json(place, identity)


def identity_of(
    voices: Sequence[tuple[Path, Path]],
    bank: Bank | None,
    tools: Tools,
    exclude: Collection[str] = (),
) -> dict[str, Any]:
    """What a way is made with, beside its configuration."""
    found: dict[str, Any] = {"weights": tools.fingerprint}
    if bank is not None:
        found |= {"bank": bank.digest, "exclude": sorted(set(exclude))}
    return {**found, "files": {place.as_posix(): sha256_of(path) for path, place in voices}}


def travel(
    voices: Sequence[tuple[Path, Path]],
    bank: Bank,
    tools: Tools,
    config: VoiceStyleConfig,
    out: Path,
    *,
    exclude: Collection[str] = (),
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[Journey], list[str]]:
    """Take several voices through all seven steps; pictures that several lead to are inverted once.

    Args:
        voices: (recording, place of its results), from `voiceface.io.input_files.find_inputs`.
        bank: faces.
        tools: networks.
        config: settings.
        out: folder.
        exclude: names whose videos are left out.
        resume: go on with what lies in the folder.
        say: is told what happens.

    Returns:
        The ways, and what was wrong with recordings that were left out.

    Raises:
        ValueError: none of the recordings can be used, or the bank does not do; see `voicestyle.steps`.
        RunError: the folder holds something else.
        KeyboardInterrupt: stopped; everything done so far is kept.
    """
    require_room(out, resume)
    heard: list[tuple[Path, Path, Tensor]] = []
    left_out: list[str] = []
    for path, place in voices:
        try:
            heard.append((path, place, steps.embed_voices([path], tools)))
        except (ValueError, OSError) as error:
            left_out.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
    if not heard:
        raise ValueError(f"none of the {len(voices)} recordings can be used: {', '.join(left_out[:1])}")
    nearest = [steps.nearest_prototypes(voice, bank, config) for _, _, voice in heard]
    videos = [steps.videos_of(near, bank, config, exclude) for near in nearest]
    open_folder(out, identity_of(voices, bank, tools, exclude), config, resume)
    found: list[Led] = []
    for (path, place, voice), near, rows in zip(heard, nearest, videos):
        led = Led(path, place, voice, near, rows, steps.select_faces(rows, bank, tools, config))
        write_json(out / "voices" / place / "steps.json", first_steps(led, bank))
        found.append(led)
        say(f"{led.name}: {len(rows)} videos of {len(near)} prototypes, {len(led.chosen)} pictures")
    if config.inversion.batching == "coupled":
        groups = [[(c.picture.label, c.picture.read) for c in each.chosen] for each in found]
        names = [f"{each.name} " for each in found]
    else:
        unique = {c.picture.label: c.picture.read for each in found for c in each.chosen}
        items, size = list(unique.items()), config.inversion.batch
        groups = [items[at : at + size] for at in range(0, len(items), size)]
        names = [""] * len(groups)
    inverted: dict[str, Inverted] = {}
    with Interrupts() as interrupts:
        for number, (group, name) in enumerate(zip(groups, names), 1):
            pictures = invert_kept(group, tools, config, out, interrupts, key=name)
            inverted |= {name + label: picture for label, picture in pictures.items()}
            say(f"inverted {number} of {len(groups)} batches")
        journeys = guide_kept(found, inverted, names, tools, config, out, interrupts)
    return journeys, left_out


def first_steps(led: Led, bank: Bank) -> dict[str, Any]:
    """Steps 1 to 3 as JSON."""
    return {
        "prototypes": [{"number": each.cluster, "distance": each.distance} for each in led.near],
        "videos": [bank.table[row].path for row in led.rows],
        "pictures": [
            {
                "video": bank.label(each.row),
                "picture": each.picture.label,
                "likeness": None if np.isnan(each.likeness) else each.likeness,
                "frontal": each.replaced,
            }
            for each in led.chosen
        ],
    }


def invert_kept(
    group: Sequence[tuple[str, Callable[[], NDArray[np.uint8]]]],
    tools: Tools,
    config: VoiceStyleConfig,
    out: Path,
    interrupts: Interrupts,
    key: str = "",
) -> dict[str, Inverted]:
    """Invert one batch of pictures, or read it from the folder.

    Args:
        group: (label, reads the picture) each.
        tools, config: see `voicestyle.steps`.
        out: folder.
        interrupts: stops between two steps.
        key: goes before the labels in names of files and in seeds.

    Returns:
        By label.

    Raises:
        RunError: a picture has changed since it was inverted.
    """
    folder = out / "inversions"
    known = {label: folder / f"{file_name(key + label)}.safetensors" for label, _ in group}
    labels = [label for label, _ in group]
    targets = steps.targets_of([read() for _, read in group], tools)
    shown = to_bytes(targets)
    if not all(path.is_file() for path in known.values()):
        kept = kept_state(out, "inversion", [key + label for label in labels])
        found = steps.invert_targets(
            targets,
            [key + label for label in labels],
            tools,
            config,
            state=kept,
            after=watch(out, "inversion", [key + label for label in labels], interrupts, shown),
        )
        pictures = steps.draw(found, tools)
        for number, label in enumerate(labels):
            alone = steps.rows_of(found, [number])
            shown_as = hashlib.sha256(shown[number].tobytes()).hexdigest()
            save_state(known[label], {"label": label, "target": shown_as, **as_content(alone)})
            both = np.concatenate([at_side(shown[number], pictures.shape[1]), pictures[number]], 1)
            write_png(known[label].with_suffix(".png"), both)
        forget_state(out)
    result = {}
    for number, label in enumerate(labels):
        content = load_state(known[label])
        if content["target"] != hashlib.sha256(shown[number].tobytes()).hexdigest():
            raise RunError(
                f"the picture {label} was another one when {out} was made: give another --out folder"
            )
        alone = from_content(content, tools.device)
        result[label] = Inverted(
            label,
            alone.codes[0],
            shown[number],
            steps.draw(alone, tools)[0],
            {
                name: float(last_number(values[:, 0]))
                for name, values in alone.history.items()
                if name != "strength"
            },
        )
    return result


def guide_kept(
    found: Sequence[Led],
    inverted: dict[str, Inverted],
    names: Sequence[str],
    tools: Tools,
    config: VoiceStyleConfig,
    out: Path,
    interrupts: Interrupts,
) -> list[Journey]:
    """Steps 5 to 7 of all voices, a batch at a time, or what the folder has of them."""
    coupled = config.inversion.batching == "coupled"
    starts = []
    for number, led in enumerate(found):
        prefix = names[number] if coupled else ""
        codes = torch.stack([inverted[prefix + each.picture.label].code for each in led.chosen])
        start = steps.starting_code(codes, led.voice, tools, config)
        save_state(out / "voices" / led.place / "start.safetensors", {"code": start.cpu()})
        starts.append(start)
    per = max(1, config.guidance.batch // config.guidance.restarts)
    journeys: list[Journey] = []
    for at in range(0, len(found), per):
        part, begin = found[at : at + per], torch.cat(starts[at : at + per])
        voices = torch.cat([each.voice for each in part])
        keys = [each.name for each in part]
        paths = [out / "voices" / each.place / "path.safetensors" for each in part]
        if not all(path.is_file() for path in paths):
            path = steps.guide_by_voice(
                begin,
                voices,
                tools,
                config,
                keys,
                state=kept_state(out, "guidance", keys),
                after=watch(out, "guidance", keys, interrupts, None),
            )
            for number, place in enumerate(paths):
                save_state(place, as_content(steps.rows_of(path, [number])))
            forget_state(out)
        for number, led in enumerate(part):
            alone = from_content(load_state(paths[number]), tools.device)
            prefix = names[at + number] if coupled else ""
            pictures = [inverted[prefix + each.picture.label] for each in led.chosen]
            journeys.append(_arrive(led, pictures, starts[at + number], alone, tools, config, out))
    return journeys


def _arrive(
    led: Led,
    pictures: list[Inverted],
    code: Tensor,
    path: Found,
    tools: Tools,
    config: VoiceStyleConfig,
    out: Path,
) -> Journey:
    """Write the pictures of one voice."""
    before = steps.beginning(path, code)
    codes = [before.codes, *path.kept]
    film = np.concatenate([steps.draw(path, tools, each) for each in codes])
    folder = out / "voices" / led.place
    write_png(folder / "start.png", film[0])
    write_film(folder / "film.gif", film)
    target = out / "faces" / led.place.with_name(f"{led.place.name}.png")
    write_png(target, film[-1])
    start_fit, fit = (float(steps.fits(each, led.voice, tools, config)[0]) for each in (before, path))
    way = led.place, led.file, led.near, led.rows, led.chosen
    return Journey(*way, pictures, film[0], start_fit, path, film[-1], fit, film)
