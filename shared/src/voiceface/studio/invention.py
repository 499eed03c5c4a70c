"""Invent a person by numbers: the face is drawn, the voice spoken, and the oracle says what can be known."""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.studio.pictures import image_url
from voiceface.studio.schemas import Invention, InventionRequest, OracleState
from voiceface.studio.voices import wav_clip

if TYPE_CHECKING:
    from voiceface.synthetic.identities import Identities

__all__ = ["SHAPE_LABELS", "ask_oracle", "build_identity", "invent", "matching_accuracy"]

SHAPE_LABELS = {
    "lowlen": "lower face, length",
    "midlen": "midface, length",
    "forehead": "forehead, height",
    "facew": "face, width",
    "jaww": "jaw, width",
    "chinw": "chin, width",
    "chinp": "chin, forward",
    "jawsq": "jaw, squareness",
    "headw": "head, width",
    "headd": "head, depth",
    "brow": "brow ridge",
    "eyesp": "eyes, distance",
    "eyelen": "eyes, length",
    "eyeop": "eyes, opening",
    "eyesl": "eyes, slant",
    "sock": "eye sockets, depth",
    "nosew": "nose, width",
    "nosep": "nose, forward",
    "noseb": "nose, bridge",
    "noset": "nose, tip upwards",
    "mouthw": "mouth, width",
    "ulip": "upper lip",
    "llip": "lower lip",
    "lipp": "lips, forward",
    "philt": "philtrum, length",
    "cheekf": "cheeks, fullness",
    "cheekb": "cheekbones",
    "neck": "neck, width",
    "browh": "brows, height",
    "browt": "brows, tilt",
    "temple": "temples, width",
    "ear": "ears",
    "fslope": "forehead, slope",
    "asn": "asymmetry, nose",
    "asm": "asymmetry, mouth",
    "asj": "asymmetry, jaw",
    "rbf0": "surface 1",
    "rbf1": "surface 2",
    "rbf2": "surface 3",
    "rbf3": "surface 4",
}
"""Shape numbers of the head by their names in `voiceface.synthetic.head.shape_space`, in words."""
PICTURE_SIDE = 256
ORACLE_PEOPLE = 400
FIRST_CANDIDATE, NUM_CANDIDATES = 20_000, 200  # of both sexes
FIRST_CHANCE = 30_000


def build_identity(request: InventionRequest) -> "Identities":
    """The identity of a request: its voice has the factors, its face shares them as far as they are coupled.

    The face factors are g = c v + sqrt(1 - c²) w, as in every population; w follows from `request.chance`.
    What else would differ between people (rate, pitch range, vowels) is that of the mean.
    """
    from voiceface.synthetic.identities import sample_identities

    sex = int(request.sex == "man")
    base = sample_identities([FIRST_CHANCE + request.chance], rho=0.0)
    voice = np.array([request.factors])
    c = request.coupling
    face = c * voice + np.sqrt(1 - c * c) * base.face_factors
    return replace(
        base,
        sex=np.array([sex]),
        face_sex=np.array([sex]),
        voice_factors=voice,
        face_factors=face,
        coupling=np.full(8, c),
        shape_nuisance=np.array([request.shape]),
        age=np.rint(np.clip(42 + 13 * face[:, 7], 18, 85)).astype(np.int64),
        speaking_rate=np.zeros(1),
        pitch_range=np.zeros(1),
        vowel_space=np.zeros(1),
        vowel_offset=np.zeros_like(base.vowel_offset),
    )


def invent(request: InventionRequest) -> Invention:
    """Draw the face, speak the voice, ask the oracle."""
    from voiceface.synthetic.head.render import render_image
    from voiceface.synthetic.head.shape_space import shape_coefficients
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    person = build_identity(request)
    drawn = render_image(person, 0, 0, image_size=PICTURE_SIDE, nuisance=0.0)
    clip = synthesise_clip(person, 0, 0, seconds=request.seconds, nuisance=0.0)
    return Invention(
        face=image_url(drawn.image),
        voice=wav_clip(clip.samples),
        shape=np.round(shape_coefficients(person)[0], 3).tolist(),
        oracle=ask_oracle(person),
        age=int(person.age[0]),
    )


def ask_oracle(person: "Identities") -> OracleState:
    """What an observer knows who sees the true factors of one person's voice and of many faces."""
    from voiceface.synthetic.identities import sample_identities
    from voiceface.synthetic.oracle import log_likelihood_ratio, max_shape_r2

    c = float(person.coupling[0])
    ids = np.arange(FIRST_CANDIDATE, FIRST_CANDIDATE + NUM_CANDIDATES)
    others = sample_identities(ids, rho=c)
    others = others.take(others.face_sex == person.face_sex[0])
    faces = np.concatenate([person.face_factors, others.face_factors])
    sexes = np.full(len(faces), person.sex[0])
    ratios = log_likelihood_ratio(person.voice_factors, person.sex, faces, sexes, c)[0]
    # Equal ratios, as without coupling, share their ranks.
    rank = 1 + int((ratios[1:] > ratios[0]).sum()) + int((ratios[1:] == ratios[0]).sum()) // 2
    return OracleState(
        accuracy=matching_accuracy(round(c, 3)),
        rank=rank,
        candidates=len(faces),
        ratio=float(ratios[0]),
        explained=np.round(max_shape_r2(c), 4).tolist(),
        face_factors=np.round(person.face_factors[0], 3).tolist(),
    )


@lru_cache(1024)
def matching_accuracy(coupling: float) -> float:
    """Accuracy of the oracle in 1:2 matching within a sex, over all pairs of some people; ties count half."""
    from voiceface.synthetic.identities import sample_identities
    from voiceface.synthetic.oracle import log_likelihood_ratio

    people = sample_identities(np.arange(ORACLE_PEOPLE), rho=coupling)
    ratios = log_likelihood_ratio(
        people.voice_factors, people.sex, people.face_factors, people.face_sex, coupling
    )
    own = np.diag(ratios)[:, None]
    others: NDArray[np.bool_] = (people.sex[:, None] == people.face_sex) & ~np.eye(len(people), dtype=bool)
    wins = (own > ratios) + 0.5 * (own == ratios)
    return float(wins[others].mean())
