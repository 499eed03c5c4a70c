"""Ground truth of rendered videos: who speaks when, where which face is, where the cuts are."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.atomic import write_json

__all__ = ["TalkingVideo", "TrueFace", "TrueSegment"]


@dataclass(frozen=True)
class TrueSegment:
    """Speech of one identity, from its first to its last audible sound.

    Attributes:
        start: s from the beginning of the video.
        end: s.
        identity: who is seen speaking; None for a voice-over: the speaker is not seen.
        voice: whose voice it is.
    """

    start: float
    end: float
    identity: int | None
    voice: int


@dataclass(frozen=True, eq=False)
class TrueFace:
    """Face of one identity between two cuts.

    Attributes:
        identity: whose.
        scene: number of the scene.
        times: (K,) s from the beginning of the video, one per frame.
        boxes: (K, 4) left, top, right, bottom of the face without hair, in pixels.
        mouth: (K,) opening of the mouth in mm.
    """

    identity: int
    scene: int
    times: NDArray[np.float64]
    boxes: NDArray[np.float64]
    mouth: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TalkingVideo:
    """Ground truth of one video.

    Attributes:
        path: file of the video.
        seconds: length.
        frame_rate: frames per second.
        width, height: in pixels.
        segments: speech, by time.
        cuts: s, the first frame after each cut.
        faces: one per scene and identity.
    """

    path: Path
    seconds: float
    frame_rate: float
    width: int
    height: int
    segments: tuple[TrueSegment, ...]
    cuts: tuple[float, ...]
    faces: tuple[TrueFace, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to values of JSON, rounded to 0.1 pixels, 0.001 s and 0.001 mm; of the path, the name."""
        record = {name: value for name, value in vars(self).items() if name not in ("path", "faces")}
        record["segments"] = [asdict(segment) for segment in self.segments]
        record["cuts"] = list(self.cuts)
        record["faces"] = [
            {
                "identity": face.identity,
                "scene": face.scene,
                "times": face.times.round(3).tolist(),
                "boxes": face.boxes.round(1).tolist(),
                "mouth": face.mouth.round(3).tolist(),
            }
            for face in self.faces
        ]
        return {"video": self.path.name, **record}

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        write_json(path, self.to_dict())
