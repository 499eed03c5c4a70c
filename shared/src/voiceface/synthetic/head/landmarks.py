"""Landmarks and measuring points of the head, by their vertex numbers in MakeHuman's base mesh.

Vertices of the viewer's right half are listed; those of the left half are their mirror images.
"""

__all__ = ["MEASURING_POINTS", "MIDLINE_LANDMARKS", "MIRRORED_LANDMARKS", "RIGHT_LANDMARKS"]

# iBUG number: vertex of the base mesh.
MIDLINE_LANDMARKS = {
    8: 5225,  # gnathion
    **{27: 136, 28: 135, 29: 164, 30: 5054, 33: 317},  # nasion, ridge, tip, subnasale
    **{51: 455, 57: 492, 62: 474, 66: 493},  # edges of the lips
}
RIGHT_LANDMARKS = {
    **{9: 11831, 10: 11900, 11: 10365, 12: 7596, 13: 7614, 14: 7574, 15: 7573, 16: 7575},  # jaw
    **{22: 6983, 23: 6980, 24: 6979, 25: 6981, 26: 6982},  # brow
    **{34: 7054, 35: 7099},  # nose
    **{42: 6850, 43: 6838, 44: 6790, 45: 6807, 46: 6820, 47: 6831},  # eye
    **{52: 7210, 53: 7170, 54: 7162, 55: 7166, 56: 7241},  # outer edge of the lips
    **{63: 7227, 64: 7192, 65: 7236},  # inner edge of the lips
}
# iBUG number of the viewer's right half: that of its mirror image.
MIRRORED_LANDMARKS = {
    **{16 - i: i for i in range(8)},
    **{26 - i: 17 + i for i in range(5)},
    **{34: 32, 35: 31},
    **{42: 39, 43: 38, 44: 37, 45: 36, 46: 41, 47: 40},
    **{52: 50, 53: 49, 54: 48, 55: 59, 56: 58},
    **{63: 61, 64: 60, 65: 67},
}
# Name: vertex of the base mesh, of the right half where it is not on the midline.
MEASURING_POINTS = {
    "glabella": 220,
    "tragion": 12054,
}
