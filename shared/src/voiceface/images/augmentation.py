"""Changes of face images for training: colours, blur, JPEG, erased rectangles (torchvision's v2).

Every function is determined by its arguments; `voiceface.datasets.augmentation` samples them. Images have
shape (3, H, W), uint8, RGB. See docs/augmentation.md.
"""

import numpy as np
from numpy.typing import NDArray

from voiceface.images.transforms import PADDING_VALUE

__all__ = [
    "adjust_colours",
    "blur",
    "compress_jpeg",
    "erase_rectangle",
]

Planes = NDArray[np.uint8]


def adjust_colours(
    image: Planes, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> Planes:
    """Change brightness, contrast, saturation and hue, in this order.

    Args:
        image: (3, H, W), uint8, RGB.
        brightness, contrast, saturation: factors; 1 changes nothing.
        hue: shift in turns of the colour circle, -0.5...0.5; 0 changes nothing.
    """
    import torch
    from torchvision.transforms.v2 import functional

    planes = torch.from_numpy(image)
    if brightness != 1:
        planes = functional.adjust_brightness(planes, brightness)
    if contrast != 1:
        planes = functional.adjust_contrast(planes, contrast)
    if saturation != 1:
        planes = functional.adjust_saturation(planes, saturation)
    if hue:
        planes = functional.adjust_hue(planes, hue)
    return planes.numpy()


def blur(image: Planes, sigma: float) -> Planes:
    """Blur with a Gaussian of standard deviation `sigma` pixels, cut at 3 sigma and at the image's side."""
    import torch
    from torchvision.transforms.v2 import functional

    side = min(image.shape[1:])
    radius = min(max(1, round(3 * sigma)), (side - 1) // 2)
    return functional.gaussian_blur(torch.from_numpy(image), [2 * radius + 1] * 2, [sigma] * 2).numpy()


def compress_jpeg(image: Planes, quality: int) -> Planes:
    """Encode as JPEG of a quality of 1...100 and decode."""
    import torch
    from torchvision.transforms.v2 import functional

    return functional.jpeg(torch.from_numpy(np.ascontiguousarray(image)), quality).numpy()


def erase_rectangle(image: Planes, area: float, aspect_ratio: float, position: tuple[float, float]) -> Planes:
    """Fill a rectangle with grey 127 (random erasing, Zhong et al. 2020).

    Args:
        image: (3, H, W).
        area: of the rectangle, as a fraction of the image's.
        aspect_ratio: its height over its width; a side longer than the image is cut.
        position: of the rectangle between top and bottom, left and right, 0...1 each.

    Returns:
        A copy.
    """
    import torch
    from torchvision.transforms.v2 import functional

    height, width = image.shape[1:]
    high = min(height, max(1, round((area * height * width * aspect_ratio) ** 0.5)))
    wide = min(width, max(1, round((area * height * width / aspect_ratio) ** 0.5)))
    top, left = int(position[0] * (height - high + 1)), int(position[1] * (width - wide + 1))
    fill = torch.tensor(PADDING_VALUE, dtype=torch.uint8)
    return functional.erase(torch.from_numpy(image), top, left, high, wide, fill).numpy()
