"""Which morph targets make which field of the head: a table.

A pair of targets is not linear (its two halves differ), so a field is half their difference. Fields are
scaled so that coefficient 1 moves a distance by about one standard deviation within a sex: where a distance
of `anthropometry.ANTHROPOMETRY` belongs to the field, by the mean of its published standard deviations, else
by a displacement chosen by eye.
"""

from dataclasses import dataclass

__all__ = ["EXPRESSION_FIELDS", "NECK_SMOOTHING", "SHAPE_FIELDS", "SMOOTHING", "Bump", "Field", "Pair"]

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Pair:
    """Half the difference of two targets; `{side}` in the names stands for both sides.

    Attributes:
        plus, minus: names of targets; without `minus`, the target itself.
        weight: factor.
        window: where the pair acts (`fields.WINDOWS`); everywhere if empty.
    """

    plus: str
    minus: str = ""
    weight: float = 1.0
    window: str = ""


@dataclass(frozen=True)
class Bump:
    """Gaussian displacement about a point of the mean head, on both sides.

    Attributes:
        centre: (|x|, y, z) in mm.
        radius: standard deviations along x, y and z in mm.
        shift: displacement at the centre in mm; x away from the midline.
        power: of the distance in the exponent; above 2 the top is flat.
    """

    centre: Point
    radius: Point
    shift: Point
    power: int = 2


@dataclass(frozen=True)
class Field:
    """A field of displacements.

    Attributes:
        parts: what is added up.
        size: mm at coefficient 1, of the distance or of the largest displacement.
        distance: two iBUG landmarks whose distance changes by `size`; without them, the largest displacement
            of the skin is `size`.
        odd: the field is antisymmetric.
    """

    parts: tuple[Pair | Bump, ...]
    size: float
    distance: tuple[int, int] | None = None
    odd: bool = False


def _pair(stem: str, ends: str = "incr/decr", weight: float = 1.0, window: str = "") -> Pair:
    plus, minus = ends.split("/")
    joint = "" if stem.endswith("/") else "-"
    return Pair(f"{stem}{joint}{plus}", f"{stem}{joint}{minus}", weight, window)


SHAPE_FIELDS: dict[str, Field] = {
    "lowlen": Field(
        (_pair("chin/chin-height"), _pair("mouth/mouth-trans", "down/up", 0.6)), 4.2, (33, 8)
    ),
    "midlen": Field(
        (_pair("nose/nose-scale-vert"), _pair("nose/nose-trans", "down/up"),
         _pair("mouth/mouth-trans", "down/up", 0.7), _pair("chin/chin-height", weight=0.3)), 2.8, (27, 33),
    ),
    "forehead": Field((_pair("forehead/forehead-scale-vert"),), 4.5),
    "facew": Field(
        (_pair("cheek/{side}-cheek-bones"), _pair("head/head-scale-horiz", weight=0.5, window="midface")),
        4.3, (1, 15),
    ),
    "jaww": Field(
        (_pair("chin/chin-bones", weight=0.4), Bump((54, -78, 20), (20, 19, 30), (4.0, 0, 0))), 5.0, (4, 12)
    ),
    "chinw": Field((_pair("chin/chin-width"),), 2.6),
    "chinp": Field((_pair("chin/chin-prominent"), _pair("chin/chin-prognathism", weight=0.5)), 3.0),
    "jawsq": Field((Pair("head/head-square", "head/head-oval", 1.0, "jaw"),), 3.2),
    "headw": Field((_pair("head/head-scale-horiz", window="cranium"),), 3.0),
    "headd": Field((_pair("head/head-scale-depth", window="cranium"),), 4.0),
    "brow": Field((Pair("macro/male", "macro/female", 1.0, "brow_ridge"),
                   Bump((26, 14, 88), (17, 7, 30), (0, -0.3, 1.0))), 1.8),
    "eyesp": Field((_pair("eyes/{side}-eye-trans", "out/in"),), 2.2, (39, 42)),
    "eyelen": Field((_pair("eyes/{side}-eye-scale"),), 0.9),
    "eyeop": Field((_pair("eyes/{side}-eye-height2"), _pair("eyes/{side}-eye-height1", weight=0.5)),
                   0.9, (37, 41)),
    "eyesl": Field((_pair("eyes/{side}-eye-corner1", "up/down"),
                    _pair("eyes/{side}-eye-corner2", "up/down", -1.0)), 1.2),
    "sock": Field((Bump((30, -1, 72), (25, 17, 36), (0, 0, -1.8), power=4),), 1.8),
    "nosew": Field((_pair("nose/nose-scale-horiz"), _pair("nose/nose-nostrils-width")), 2.6, (31, 35)),
    "nosep": Field((_pair("nose/nose-scale-depth"),), 2.0),
    "noseb": Field((_pair("nose/nose-width1"), _pair("nose/nose-greek")), 1.6),
    "noset": Field((_pair("nose/nose-point", "up/down"),), 1.8),
    "mouthw": Field((_pair("mouth/mouth-scale-horiz"),), 3.4, (48, 54)),
    "ulip": Field(
        (_pair("mouth/mouth-upperlip-volume"), _pair("mouth/mouth-upperlip-height", weight=0.6)), 1.2
    ),
    "llip": Field(
        (_pair("mouth/mouth-lowerlip-volume"), _pair("mouth/mouth-lowerlip-height", weight=0.6)), 1.4
    ),
    "lipp": Field((_pair("mouth/mouth-scale-depth"),), 1.6),
    "philt": Field(
        (_pair("mouth/mouth-philtrum-volume"), _pair("mouth/mouth-upperlip-height", weight=-0.5),
         _pair("mouth/mouth-trans", "down/up")), 1.7, (33, 51),
    ),
    "cheekf": Field((_pair("cheek/{side}-cheek-volume"), _pair("head/head-fat", weight=0.4)), 3.4),
    "cheekb": Field(
        (_pair("cheek/{side}-cheek-bones"), Bump((47, -20, 70), (15, 11, 22), (1.0, 0, 2.0))), 2.2
    ),
    "neck": Field((_pair("neck/neck-scale-horiz"), _pair("neck/neck-scale-depth")), 4.0),
    "browh": Field((_pair("eyebrows/eyebrows-trans", "up/down"),), 2.0),
    "browt": Field((_pair("eyebrows/eyebrows-angle", "up/down"),), 1.8),
    "temple": Field((_pair("forehead/forehead-temple"), Bump((60, 22, 40), (18, 18, 26), (1.5, 0, 0))), 2.2),
    "ear": Field((_pair("ears/{side}-ear-scale"),), 3.0),
    "fslope": Field((_pair("forehead/forehead-trans", "backward/forward"),), 3.0),
    "asn": Field((_pair("asym/asym-nose-1", "l/r"),), 0.9, odd=True),
    "asm": Field((_pair("asym/asym-mouth-1", "l/r"), _pair("asym/asym-mouth-2", "l/r")), 1.0, odd=True),
    "asj": Field((_pair("asym/asym-jaw-1", "l/r"), _pair("asym/asym-jaw-3", "l/r")), 1.6, odd=True),
    "rbf0": Field((Pair("macro/african", "macro/asian+caucasian", 1.0, "head"),), 3.0),
    "rbf1": Field((Pair("macro/asian", "macro/caucasian", 1.0, "head"),), 3.0),
    "rbf2": Field((_pair("head/head-age"),), 2.4),
    "rbf3": Field((Pair("macro/maxweight", "macro/minweight", 1.0, "head"),), 3.0),
}  # fmt: skip

# Standard deviation in mm of the Gaussian that smooths a shape field, so that no triangle turns over.
SMOOTHING = (
    dict.fromkeys(SHAPE_FIELDS, 5.0)
    | dict.fromkeys(("ulip", "llip", "lipp"), 4.5)
    | dict.fromkeys(("eyesl", "noset"), 4.0)
    | dict.fromkeys(("eyelen", "eyeop", "mouthw", "nosew", "noseb", "asn", "rbf2"), 6.5)
    | dict.fromkeys(("lowlen", "sock", "chinw", "nosep", "philt"), 7.5)
    | dict.fromkeys(("midlen", "browh", "browt", "brow", "rbf0"), 9.0)
    | dict.fromkeys(("rbf1",), 11.0)
)
# The same for all fields on the neck, which has large triangles and many fields.
NECK_SMOOTHING = 16.0

_UNITS = "expression/units/{ancestry}/"
# Largest displacement at coefficient 1; a strong expression, and for the lids seven tenths of closure.
EXPRESSION_FIELDS: dict[str, Field] = {
    "jaw_open": Field((Pair(_UNITS + "mouth-open"),), 20.0),
    "smile": Field((Pair(_UNITS + "mouth-corner-puller"),), 8.0),
    "frown": Field((Pair(_UNITS + "mouth-depression"),), 6.0),
    "pucker": Field((Pair(_UNITS + "mouth-pursing"),), 9.0),
    "brow_raise": Field((Pair(_UNITS + "eyebrows-left-up"), Pair(_UNITS + "eyebrows-right-up")), 5.0),
    "brow_frown": Field((Pair(_UNITS + "eyebrows-left-down"), Pair(_UNITS + "eyebrows-right-down")), 4.5),
    "blink": Field((Pair(_UNITS + "eye-left-closure"), Pair(_UNITS + "eye-right-closure")), 7.0),
    "cheek_puff": Field((_pair("cheek/{side}-cheek-volume"),), 5.0),
    "sneer": Field((Pair(_UNITS + "nose-left-elevation"), Pair(_UNITS + "nose-right-elevation")), 3.5),
    "lip_press": Field((Pair(_UNITS + "mouth-compression"),), 3.0),
}
