"""Hair styles: how far hair stands off the head, how it flows, where it ends."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from voiceface.synthetic.head.traits import Traits

__all__ = ["BALDING_FROM", "BALD_FROM", "HairStyle", "choose_hair_style"]

BALDING_FROM, BALD_FROM = 0.55, 1.15  # of `Traits.baldness`


@dataclass(frozen=True)
class HairStyle:
    """Shape of a hair style; lengths in mm.

    Attributes:
        name: for reading.
        flow: how strands run: away from the crown, sideways from a parting, or back from the forehead.
        top, sides: how far the outer hair stands off the head.
        length: long hair ends so far below eye height; 0: the hair ends at the hairline.
        rise: distance behind the hairline over which hair reaches its full height.
        edge: share of the height that it has at the hairline already.
        quiff: share by which the hair above the forehead is higher.
        part: x of the parting.
        fringe: how far hair hangs over the forehead.
        shaved: how far the hairline at the sides is raised.
        knot: height of a knot at the back; 0: none.
        opening, opening_low: azimuth in radians where long hair begins, and its change to the tips.
        profile: width of long hair from the ears to its tips, relative.
        wave: swing of long hair, relative to its width.
        lumps: unevenness, 1 is usual.
        curl: share of curls instead of strands, 0 to 1.
        shells: layers.
        inner: height of the innermost layer, relative.
        ragged: how far single strands cross the edges.
        soft: softness of the edges.
        fill: how much of the outer layers is covered; about 0.7 thin to 1.3 dense.
        density: strands per angle, 1 is usual.
        frizz: how quickly strands change along their length, 1 is usual.
        contrast: of light and dark strands, 1 is usual.
    """

    name: str
    flow: Literal["crown", "parting", "back"] = "crown"
    top: float = 8.0
    sides: float = 4.0
    length: float = 0.0
    rise: float = 22.0
    edge: float = 0.0
    quiff: float = 0.0
    part: float = 0.0
    fringe: float = 0.0
    shaved: float = 0.0
    knot: float = 0.0
    opening: float = 1.12
    opening_low: float = 0.0
    profile: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    wave: float = 0.0
    lumps: float = 1.0
    curl: float = 0.0
    shells: int = 3
    inner: float = 0.4
    ragged: float = 2.2
    soft: float = 1.0
    fill: float = 0.75
    density: float = 1.0
    frizz: float = 1.0
    contrast: float = 1.0


def choose_hair_style(traits: Traits) -> HairStyle:
    """Choose and vary a style from the traits of a person.

    Long hair, fringe, parting and baldness are those of the traits; the random numbers of `Traits.style`
    choose among the styles that fit them.
    """
    # Curls are common with dark skin and rare otherwise.
    curly_rate = 0.08 + 0.80 * float(np.clip((traits.tone - 0.55) / 0.3, 0.0, 1.0))
    curl = 0.85 if traits.style[1] < curly_rate else 0.0
    if traits.baldness > BALD_FROM:
        return HairStyle("bald", shells=1, top=0.6, sides=0.5, inner=1.0, ragged=1.0, soft=4.0, lumps=0.0)
    if traits.baldness > BALDING_FROM:
        return HairStyle(
            "balding",
            top=3.5,
            sides=3.5,
            shells=2,
            rise=12.0,
            lumps=0.6,
            curl=curl,
            ragged=3.0,
            soft=1.6,
            density=1.4,
        )
    if traits.hair_length > 0:
        return _choose_long(traits, curl)
    return _choose_curly(traits) if curl else _choose_short(traits)


def _choose_long(traits: Traits, curl: float) -> HairStyle:
    pick, volume, part = float(traits.style[0]), traits.hair_volume, _parting(traits)
    if not traits.male and pick < 0.26:
        knot = 20.0 + 40.0 * float(traits.style[2])
        return HairStyle(
            "tied back",
            "back",
            top=6.0,
            sides=5.0,
            knot=knot,
            rise=28.0,
            shells=2,
            lumps=0.4,
            curl=0.5 * curl,
            density=1.4,
            ragged=1.6,
            inner=0.8,
            fill=1.2,
        )
    style = HairStyle(
        "bob" if traits.hair_length < 112 else "shoulder length",
        "parting" if pick < 0.8 else "crown",
        part=part if pick < 0.62 else 3.0 * float(np.sign(part)),
        top=1.25 * volume,
        sides=1.35 * volume,
        length=traits.hair_length,
        rise=30.0,
        inner=0.65,
        ragged=1.8,
        opening=1.06 + 0.10 * traits.temples,
        wave=0.010 * max(0.0, traits.waves),
        curl=0.9 * curl,
        frizz=1.0 + curl,
        fill=1.0,
    )
    if style.name == "bob":
        style = replace(style, profile=(1.0, 1.04, 1.02, 0.92), opening_low=-0.12)
    else:
        style = replace(style, profile=(1.0, 1.0, 1.02, 1.08), opening_low=0.04 * traits.waves)
    if curl:
        style = replace(
            style,
            name="long curls",
            top=1.6 * volume,
            sides=1.9 * volume,
            profile=(1.0, 1.12, 1.15, 1.02),
            edge=0.4,
            rise=18.0,
        )
    if traits.fringe:
        style = replace(style, flow="crown", fringe=30.0 + 5.0 * traits.fringe_length, edge=0.55, rise=18.0)
    return style


def _choose_curly(traits: Traits) -> HairStyle:
    size = float(traits.style[3])
    if size > 0.72:
        share = 0.65 if traits.male else 1.0
        return HairStyle(
            "afro",
            top=16.0 + 22.0 * size * share,
            sides=14.0 + 14.0 * size * share,
            rise=14.0,
            edge=0.3,
            curl=1.0,
            shells=4,
            inner=0.76,
            ragged=4.0,
            fill=1.1,
            contrast=1.2,
        )
    return HairStyle(
        "short curls", top=5.0 + 4.0 * size, sides=3.0 + 2.0 * size, rise=12.0, curl=0.95, edge=0.1
    )


def _choose_short(traits: Traits) -> HairStyle:
    pick, volume, part = float(traits.style[0]), traits.hair_volume, _parting(traits)
    if not traits.male:
        if pick < 0.5:
            return HairStyle(
                "pixie",
                "parting",
                part=part,
                top=1.5 * volume,
                sides=0.9 * volume,
                fringe=14.0,
                edge=0.4,
                rise=18.0,
                ragged=3.0,
                lumps=1.2,
            )
        return HairStyle(
            "short with parting",
            "parting",
            part=part,
            top=1.5 * volume,
            sides=volume,
            rise=24.0,
            quiff=0.2,
            ragged=1.6,
        )
    if pick < 0.22:
        return HairStyle(
            "cropped",
            top=3.0,
            sides=1.6,
            rise=14.0,
            shells=2,
            ragged=1.4,
            soft=1.8,
            lumps=0.4,
            frizz=2.0,
            contrast=0.7,
            density=1.8,
        )
    if pick < 0.50:
        return HairStyle(
            "side parting",
            "parting",
            part=part,
            top=1.75 * volume,
            sides=0.8 * volume,
            rise=24.0,
            quiff=0.35,
            ragged=1.5,
            edge=0.12,
        )
    if pick < 0.70:
        return HairStyle(
            "swept back",
            "back",
            top=1.6 * volume,
            sides=0.6 * volume,
            rise=26.0,
            quiff=0.25,
            shaved=4.0,
            density=1.3,
            ragged=1.8,
        )
    return HairStyle(
        "short",
        top=1.5 * volume,
        sides=0.7 * volume,
        rise=16.0,
        fringe=6.0 + 12.0 * float(traits.style[4]),
        edge=0.35,
        ragged=2.4,
        frizz=1.6,
        lumps=1.4,
        shaved=3.0,
    )


def _parting(traits: Traits) -> float:
    """X of the parting in mm."""
    return float(np.sign(traits.part) * (16.0 + 14.0 * abs(np.tanh(traits.part))))
