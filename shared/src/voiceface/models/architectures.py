"""Sizes of the published backbones, importable without torch (configurations have them as defaults)."""

__all__ = [
    "IRESNET_BLOCKS",
    "IRESNET_WIDTHS",
    "THIN_RESNET_BLOCKS",
    "THIN_RESNET_STEM_STRIDE",
    "THIN_RESNET_STRIDES",
    "THIN_RESNET_WIDTHS",
]

IRESNET_BLOCKS: dict[str, tuple[int, ...]] = {
    "ir50": (3, 4, 14, 3),
    "ir101": (3, 13, 30, 3),
    "ir152": (3, 8, 36, 3),
}
IRESNET_WIDTHS = (64, 128, 256, 512)
THIN_RESNET_BLOCKS = (3, 4, 6, 3)
THIN_RESNET_WIDTHS = (16, 32, 64, 128)
THIN_RESNET_STRIDES = ((1, 1), (2, 2), (2, 2), (1, 1))
THIN_RESNET_STEM_STRIDE = (2, 1)
