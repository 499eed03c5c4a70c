"""Galleries: named vectors that are kept, extended and searched by cosine, on disk or on a server.

    from voiceface.gallery import create_gallery, open_gallery

    with create_gallery("faces", 128, fingerprint=model.fingerprint, modality="face") as gallery:
        gallery.add(["a.jpg", "b.jpg"], vectors)
    (best,) = open_gallery("faces").search(query, top=10)

One interface (`Gallery`), four engines: `exact` (default), and with extras `faiss`, `chroma`, `milvus`.
"""

from voiceface.gallery.interface import Found, Gallery, GalleryError, GalleryFacts
from voiceface.gallery.places import ENGINES, create_gallery, is_gallery, open_gallery

__all__ = [
    "ENGINES",
    "Found",
    "Gallery",
    "GalleryError",
    "GalleryFacts",
    "create_gallery",
    "is_gallery",
    "open_gallery",
]
