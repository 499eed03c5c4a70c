"""Contact sheet of labelled images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "labelled_contact_sheet",
]


def labelled_contact_sheet(
    images: Sequence["np.ndarray"], names: Sequence[str], columns: int = 6, gap: int = 8
) -> "np.ndarray":
    """Arrange images (H, W, 3) of one size in a grid on white, with a label under each.

    Returns:
        (rows, columns, 3) uint8.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont
    from voiceface.report.media import upscale_image

    upscaled = [upscale_image(image) for image in images]
    height, width = upscaled[0].shape[:2]
    columns = max(1, min(columns, len(upscaled)))
    rows, label_height = -(-len(upscaled) // columns), 20
    size = columns * (width + gap) + gap, rows * (height + label_height + gap) + gap
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for index, (image, name) in enumerate(zip(upscaled, names, strict=True)):
        row, column = divmod(index, columns)
        left, top = gap + column * (width + gap), gap + row * (height + label_height + gap)
        sheet.paste(Image.fromarray(image), (left, top))
        label = printable(name).encode("latin-1", "replace").decode("latin-1")
        text = label
        while draw.textlength(text, font=font) > width - 2 and len(label) > 1:
            label = label[1:]
            text = f"...{label}"
        draw.text((left + 1, top + height + 4), text, fill="black", font=font)
    return np.asarray(sheet)
