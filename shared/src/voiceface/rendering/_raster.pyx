# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: freethreading_compatible=True
"""Kernel of the renderer (private; the modules around it validate the arrays).

`_raster.h` rasterizes; normals, light and interpolation are here. Ranges of rows or vertices are independent and may run
in parallel; no value depends on them.

float32 values are computed operation by operation as in the published program: the compiler must neither fuse nor
reorder them.
"""

from libc.math cimport pow, sqrt

cdef extern from "_raster.h":
    ctypedef struct canvas:
        const float *vertices
        const int *triangles
        const float *colors
        unsigned char *image
        float *depth
        int *ids
        float *weights
        int num_vertices, num_triangles, height, width, channels, rule, reverse
        float keep, paint

    void draw_rows(const canvas *s, int top, int bottom) noexcept nogil
    void add_cost(const canvas *s, int step, double *cost) noexcept nogil

cdef extern from *:
    """
    static const float ONE = 1.0f;
    static const float ZERO = 0.0f;
    static const float FULL = 255.0f;
    """
    const float ONE, ZERO, FULL


cdef class Scene:
    """Arrays of one call.

    Args:
        vertices: (V, 3) pixels, V at least 1; triangles: (T, 3), every number in 0..V-1, T at least 1.
        colors: (V, C) and image: (H, W, C); empty if no image is drawn.
        depth: (H, W), not empty.
        ids: (H, W) and weights: (H, W, 3); empty if an image is drawn.
    """

    cdef canvas canvas
    cdef object arrays  # keeps them alive

    def __init__(
        self,
        const float[:, ::1] vertices,
        const int[:, ::1] triangles,
        const float[:, ::1] colors,
        unsigned char[:, :, ::1] image,
        float[:, ::1] depth,
        int[:, ::1] ids,
        float[:, :, ::1] weights,
        int rule,
        float alpha,
        bint reverse,
    ):
        cdef canvas *s = &self.canvas
        self.arrays = vertices, triangles, colors, image, depth, ids, weights
        s.vertices, s.triangles, s.depth = &vertices[0, 0], &triangles[0, 0], &depth[0, 0]
        s.colors = s.image = s.ids = s.weights = NULL
        if ids.shape[0]:
            s.ids, s.weights = &ids[0, 0], &weights[0, 0, 0]
        else:
            s.colors, s.image = &colors[0, 0], &image[0, 0, 0]
        s.num_vertices, s.num_triangles = <int>vertices.shape[0], <int>triangles.shape[0]
        s.height, s.width, s.channels = <int>depth.shape[0], <int>depth.shape[1], <int>image.shape[2]
        s.rule, s.reverse, s.keep, s.paint = rule, reverse, ONE - alpha, alpha * FULL

    def cost(self, int step, double[::1] out):
        """Differences, row by row, of the work to expect, into `out` (H + 1), zeros before; from every `step`-th triangle."""
        with nogil:
            add_cost(&self.canvas, step, &out[0])

    def draw(self, int top, int bottom):
        """Draw rows top..bottom-1: all triangles, in order."""
        with nogil:
            draw_rows(&self.canvas, top, bottom)


def triangle_normals(const float[:, ::1] vertices, const int[:, ::1] triangles, float[:, ::1] out, bint unit):
    """(p1 - p0) x (p2 - p0) of each triangle into `out` (T, 3); of length 1 if `unit`."""
    cdef Py_ssize_t t
    cdef float x, y, z
    with nogil:
        for t in range(triangles.shape[0]):
            cross(vertices, triangles, t, &x, &y, &z)
            out[t, 0], out[t, 1], out[t, 2] = x, y, z
            if unit:
                to_unit(out, t)


def vertex_normals(const float[:, ::1] vertices, const int[:, ::1] triangles, float[:, ::1] out):
    """Unit sums of the triangles' normals into `out` (V, 3), zeros before; zeros stay where there is no triangle."""
    cdef Py_ssize_t t, corner
    cdef int i
    cdef float x, y, z
    with nogil:
        for t in range(triangles.shape[0]):
            cross(vertices, triangles, t, &x, &y, &z)
            if not ZERO * x + ZERO * y + ZERO * z == 0:
                continue  # a corner at infinity or NaN
            for corner in range(3):
                i = triangles[t, corner]
                out[i, 0] += x
                out[i, 1] += y
                out[i, 2] += z
        for t in range(out.shape[0]):
            to_unit(out, t)


cdef inline int cross(
    const float[:, ::1] vertices, const int[:, ::1] triangles, Py_ssize_t t, float* x, float* y, float* z
) except -1 nogil:
    cdef int i0 = triangles[t, 0], i1 = triangles[t, 1], i2 = triangles[t, 2]
    cdef float ax = vertices[i1, 0] - vertices[i0, 0], bx = vertices[i2, 0] - vertices[i0, 0]
    cdef float ay = vertices[i1, 1] - vertices[i0, 1], by = vertices[i2, 1] - vertices[i0, 1]
    cdef float az = vertices[i1, 2] - vertices[i0, 2], bz = vertices[i2, 2] - vertices[i0, 2]
    x[0], y[0], z[0] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return 0


cdef inline int to_unit(float[:, ::1] rows, Py_ssize_t i) except -1 nogil:
    cdef double x = rows[i, 0], y = rows[i, 1], z = rows[i, 2]
    cdef double length = sqrt(x * x + y * y + z * z)
    if length - length != 0:  # infinite or NaN
        rows[i, 0] = rows[i, 1] = rows[i, 2] = 0
    elif length > 0:
        rows[i, 0], rows[i, 1], rows[i, 2] = <float>(x / length), <float>(y / length), <float>(z / length)
    return 0


def extent(const float[:, ::1] vertices, double[::1] low, double[::1] high):
    """Lowest and highest finite coordinate of each axis; `low` stays above `high` where there is none."""
    cdef Py_ssize_t i
    cdef int axis
    cdef double x
    with nogil:
        for i in range(vertices.shape[0]):
            for axis in range(3):
                x = vertices[i, axis]
                if x - x == 0:
                    low[axis] = x if x < low[axis] else low[axis]
                    high[axis] = x if x > high[axis] else high[axis]


def unit_positions(
    const float[:, ::1] vertices, const double[::1] middle, double scale, float[:, ::1] out
):
    """(vertices - middle) * scale."""
    cdef Py_ssize_t i
    cdef int axis
    with nogil:
        for i in range(vertices.shape[0]):
            for axis in range(3):
                out[i, axis] = <float>((vertices[i, axis] - middle[axis]) * scale)


def shade(
    const float[:, ::1] positions,
    const float[:, ::1] normals,
    const double[:, ::1] colours,
    const double[:, ::1] places,
    double exponent,
    float[:, ::1] out,
    Py_ssize_t first,
    Py_ssize_t last,
):
    """Light of vertices first..last-1 into `out` (V, 3), in [0, 1].

    Args:
        colours: (3, 3), intensity times colour: ambient, directional, specular.
        places: (2, 3), the light and the viewer, among `positions`.
    """
    cdef Py_ssize_t i
    cdef int axis, whole = <int>exponent if 0 <= exponent <= 64 and exponent == <int>exponent else -1
    cdef double n[3]
    cdef double to_light[3]
    cdef double to_view[3]
    cdef double cosine, lit, shine, value
    with nogil:
        for i in range(first, last):
            cosine = shine = 0
            for axis in range(3):
                n[axis] = normals[i, axis]
                to_light[axis] = places[0, axis] - positions[i, axis]
                to_view[axis] = places[1, axis] - positions[i, axis]
            scale_to_unit(to_light)
            for axis in range(3):
                cosine += n[axis] * to_light[axis]
            if cosine != 0 and (colours[2, 0] != 0 or colours[2, 1] != 0 or colours[2, 2] != 0):
                scale_to_unit(to_view)
                for axis in range(3):
                    shine += power(to_view[axis] * (2 * cosine * n[axis] - to_light[axis]), exponent, whole)
            lit = within_one(cosine)
            shine = within_one(shine)
            for axis in range(3):
                value = colours[0, axis] + colours[1, axis] * lit + colours[2, axis] * shine
                out[i, axis] = <float>within_one(value)


cdef inline void scale_to_unit(double* v) noexcept nogil:
    cdef double length = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    if length > 0:
        v[0], v[1], v[2] = v[0] / length, v[1] / length, v[2] / length


cdef inline double power(double base, double exponent, int whole) noexcept nogil:
    """base ** exponent; `whole` is the exponent if it is a small whole number, else -1."""
    cdef double result = 1
    cdef int i
    if whole >= 0:
        for i in range(whole):
            result *= base
        return result
    return 0 if base < 0 and exponent != <long long>exponent else pow(base, exponent)


cdef inline double within_one(double x) noexcept nogil:
    """x clipped to [0, 1]; NaN gives 0."""
    return (1 if x > 1 else x) if x > 0 else 0


def interpolate(
    const int[:, ::1] ids,
    const float[:, :, ::1] weights,
    const int[:, ::1] triangles,
    const float[:, ::1] attributes,
    const float[::1] inverse,
    const float[::1] background,
    float[:, :, ::1] out,
    int first,
    int last,
):
    """Attributes (V, C) of the vertices at the pixels of rows first..last-1, into `out` (H, W, C).

    Args:
        ids: (H, W) triangle, below 0 where there is none; weights: (H, W, 3).
        inverse: (V,) one over the distance from the camera; empty: linear on the screen.
        background: (C,).

    Returns:
        The highest triangle number that `triangles` does not have, else -1; nothing is written there.
    """
    cdef int y, x, t, worst = -1
    cdef Py_ssize_t c, channels = attributes.shape[1]
    cdef const float *a0
    cdef const float *a1
    cdef const float *a2
    cdef float *at
    cdef float w0, w1, w2, scale
    with nogil:
        for y in range(first, last):
            for x in range(ids.shape[1]):
                t, at = ids[y, x], &out[y, x, 0]
                if t < 0:
                    for c in range(channels):
                        at[c] = background[c]
                    continue
                if t >= triangles.shape[0]:
                    worst = t if t > worst else worst
                    continue
                w0, w1, w2 = weights[y, x, 0], weights[y, x, 1], weights[y, x, 2]
                if inverse.shape[0]:
                    w0 = w0 * inverse[triangles[t, 0]]
                    w1 = w1 * inverse[triangles[t, 1]]
                    w2 = w2 * inverse[triangles[t, 2]]
                    scale = ONE / (w0 + w1 + w2)
                    w0, w1, w2 = w0 * scale, w1 * scale, w2 * scale
                a0, a1 = &attributes[triangles[t, 0], 0], &attributes[triangles[t, 1], 0]
                a2 = &attributes[triangles[t, 2], 0]
                for c in range(channels):
                    at[c] = w0 * a0[c] + w1 * a1[c] + w2 * a2[c]
    return worst
