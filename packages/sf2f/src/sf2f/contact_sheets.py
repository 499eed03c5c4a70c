"""Pictures for people to look at: many of them with names on one sheet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def labelled_contact_sheet(
    images: Sequence["np.ndarray"], names: Sequence[str], columns: int = 6, gap: int = 8
) -> "np.ndarray":
    """Pictures (H, W, 3) of one size side by side on white, a name under each.

    Returns:
        (rows, columns, 3) uint8.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont
    from voiceface.report.media import upscale_image

    large = [upscale_image(picture) for picture in images]
    height, width = large[0].shape[:2]
    columns = max(1, min(columns, len(large)))
    rows, line = -(-len(large) // columns), 20
    size = columns * (width + gap) + gap, rows * (height + line + gap) + gap
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for at, (picture, name) in enumerate(zip(large, names, strict=True)):
        row, column = divmod(at, columns)
        left, top = gap + column * (width + gap), gap + row * (height + line + gap)
        sheet.paste(Image.fromarray(picture), (left, top))
        plain = name.encode("latin-1", "replace").decode("latin-1")
        shown = plain
        while draw.textlength(shown, font=font) > width - 2 and len(plain) > 1:
            plain = plain[1:]
            shown = f"...{plain}"
        draw.text((left + 1, top + height + 4), shown, fill="black", font=font)
    return np.asarray(sheet)
