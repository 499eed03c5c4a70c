"""Videos of talking heads of the population, with ground truth (docs/population.md)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.synthetic.talking_heads.rendering import render_talking_video
    from voiceface.synthetic.talking_heads.scenes import Scene, Turn
    from voiceface.synthetic.talking_heads.truth import TalkingVideo, TrueFace, TrueSegment

_LAZY_IMPORTS = {
    "Scene": "scenes",
    "TalkingVideo": "truth",
    "TrueFace": "truth",
    "TrueSegment": "truth",
    "Turn": "scenes",
    "render_talking_video": "rendering",
}
__all__ = ["Scene", "TalkingVideo", "TrueFace", "TrueSegment", "Turn", "render_talking_video"]


def __getattr__(name: str) -> Any:
    """Import names on first use."""
    if name in _LAZY_IMPORTS:
        return getattr(import_module(f"voiceface.synthetic.talking_heads.{_LAZY_IMPORTS[name]}"), name)
    raise AttributeError(f"module 'voiceface.synthetic.talking_heads' has no attribute {name!r}")
