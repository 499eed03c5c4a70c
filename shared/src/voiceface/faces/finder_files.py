"""Face finders by path: which of the known detectors an ONNX file is."""

import os
from typing import TYPE_CHECKING

from voiceface.faces.onnx_files import open_onnx, wrong_file
from voiceface.faces.scrfd import is_scrfd, load_scrfd
from voiceface.faces.yunet import is_yunet, load_yunet

if TYPE_CHECKING:
    from voiceface.faces.finding import FaceFinder

__all__ = ["open_face_finder"]


def open_face_finder(path: str | os.PathLike[str]) -> "FaceFinder":
    """Open a face detector of others: YuNet (OpenCV) or SCRFD with five points (InsightFace).

    Args:
        path: its ONNX file; its outputs decide which detector it is.

    Raises:
        FileNotFoundError: no such file.
        voiceface.faces.onnx_files.FaceModelFileError: corrupt, or another network.
        ModuleNotFoundError: onnxruntime is not installed.
    """
    what = "a face detector"
    found = open_onnx(path, what)
    if is_yunet(found):
        return load_yunet(path, found)
    if is_scrfd(found):
        return load_scrfd(path, found)
    raise wrong_file(found, what, "YuNet (cls_8, obj_8, bbox_8, kps_8, ...) or SCRFD with five points")
