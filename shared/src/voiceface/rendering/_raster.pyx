# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: freethreading_compatible=True
"""Kernel of the renderer (private; the modules around it validate the arrays).

An image is drawn in two steps. `Scene.find` takes a range of triangles, skips those that cannot be visible and stores
the bounding boxes of the others in order. `Scene.draw` takes a range of rows and draws the stored triangles in order.
Ranges of either kind are independent and may run in parallel; no value depends on the ranges.

float32 values are computed operation by operation as in the published program: the compiler must neither fuse nor
reorder them.
"""

import cython

from libc.math cimport fabs, pow, sqrt

cdef enum:  # as in arrays.COVERAGE
    TOP_LEFT = 0  # positions on a grid of 1 / 2048 pixel, exact
    INCLUSIVE = 1
    STRICT = 2
    INCLUSIVE_WITHIN = 3  # the inclusive test within the bounding box of the strict one

cdef extern from *:
    """
    static const double GRID = 2048.0;
    static const double EXACT = 2048.0 * 16384.0; /* up to here edge functions are integers below 2^53 */
    static const double ROUND = 6755399441055744.0; /* 1.5 * 2^52: adding and subtracting it rounds to an integer */
    static const double INT_LIMIT = 2147483648.0;
    static const float ONE = 1.0f;
    static const float ZERO = 0.0f;
    static const float FULL = 255.0f;
    """
    const double GRID, EXACT, ROUND, INT_LIMIT
    const float ONE, ZERO, FULL


@cython.final
cdef class Scene:
    """Arrays of one call.

    Args:
        vertices: (V, 3) pixels; triangles: (T, 3), every number in 0..V-1.
        colors: (V, C) and image: (H, W, C); empty if no image is drawn.
        depth: (H, W).
        ids: (H, W) and weights: (H, W, 3); empty if an image is drawn.
        found: (T, 5), filled by `find`: triangle (t, or -1 - t where `top_left` is not exact), first and last
            column, first and last row.
    """

    cdef const float[:, ::1] vertices
    cdef const int[:, ::1] triangles
    cdef const float[:, ::1] colors
    cdef unsigned char[:, :, ::1] image
    cdef float[:, ::1] depth
    cdef int[:, ::1] ids
    cdef float[:, :, ::1] weights
    cdef int[:, ::1] found
    cdef int rule, height, width, channels
    cdef float keep, paint
    cdef bint reverse, painting, large

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
        int[:, ::1] found,
    ):
        self.vertices, self.triangles, self.colors = vertices, triangles, colors
        self.image, self.depth, self.ids, self.weights, self.found = image, depth, ids, weights, found
        self.height, self.width = <int>depth.shape[0], <int>depth.shape[1]
        self.channels, self.painting = <int>image.shape[2], ids.shape[0] == 0
        self.rule, self.reverse, self.large = rule, reverse, max(self.height, self.width) > 16384
        self.keep, self.paint = ONE - alpha, alpha * FULL

    def find(self, Py_ssize_t first, Py_ssize_t last, double[::1] cost):
        """Note the boxes of triangles first..last-1 from row `first` of `found` on.

        Args:
            cost: (H + 1,), zeros; becomes the differences, row by row, of the work to expect.

        Returns:
            Row after the last that was filled.
        """
        cdef Py_ssize_t t, at = first
        with nogil:
            for t in range(first, last):
                at += note_box(self, t, at, cost)
        return at

    def draw(self, const Py_ssize_t[:, ::1] runs, int top, int bottom):
        """Draw rows top..bottom-1 from the boxes in the runs, each [first, end) of `found`."""
        cdef Py_ssize_t run, at
        cdef int first, last
        with nogil:
            for run in range(runs.shape[0]):
                for at in range(runs[run, 0], runs[run, 1]):
                    first, last = self.found[at, 3], self.found[at, 4]
                    if first >= bottom or last < top:
                        continue
                    first = top if first < top else first
                    last = bottom - 1 if last >= bottom else last
                    if self.rule != TOP_LEFT:
                        fill_published(self, at, first, last)
                    elif self.found[at, 0] >= 0:
                        fill_top_left(self, at, first, last)
                    else:
                        fill_top_left_far(self, at, first, last)


cdef inline int note_box(Scene s, Py_ssize_t t, Py_ssize_t at, double[::1] cost) except -1 nogil:
    """Write the box of one triangle; 1 if any pixel may be covered, else 0."""
    cdef int i0 = s.triangles[t, 0], i1 = s.triangles[t, 1], i2 = s.triangles[t, 2]
    cdef float x0 = s.vertices[i0, 0], x1 = s.vertices[i1, 0], x2 = s.vertices[i2, 0]
    cdef float y0 = s.vertices[i0, 1], y1 = s.vertices[i1, 1], y2 = s.vertices[i2, 1]
    cdef float z0 = s.vertices[i0, 2], z1 = s.vertices[i1, 2], z2 = s.vertices[i2, 2]
    cdef float low_x = least(x0, x1, x2), high_x = -least(-x0, -x1, -x2)
    cdef float low_y = least(y0, y1, y2), high_y = -least(-y0, -y1, -y2)
    cdef double left = low_x, right = high_x, upper = low_y, lower = high_y
    cdef int first_x, last_x, first_y, last_y, name = <int>t
    # infinity or NaN times zero is NaN
    if not (ZERO * x0 + ZERO * x1 + ZERO * x2) + (ZERO * y0 + ZERO * y1 + ZERO * y2) \
            + (ZERO * z0 + ZERO * z1 + ZERO * z2) == 0:
        return 0
    if s.rule == TOP_LEFT:
        left, right, upper, lower = snap(low_x), snap(high_x), snap(low_y), snap(high_y)
        if left < -EXACT or right > EXACT or upper < -EXACT or lower > EXACT or s.large:
            name = -1 - name
        left, right, upper, lower = left / GRID, right / GRID, upper / GRID, lower / GRID
    elif left < -INT_LIMIT or right >= INT_LIMIT or upper < -INT_LIMIT or lower >= INT_LIMIT:
        return 0  # undefined in the published program
    if right <= -1 or lower <= -1 or left >= s.width or upper >= s.height:
        return 0
    if s.rule == INCLUSIVE:
        first_x, last_x = floor_in(left, s.width), ceil_in(right, s.width)
        first_y, last_y = floor_in(upper, s.height), ceil_in(lower, s.height)
    else:
        first_x, last_x = ceil_in(left, s.width), floor_in(right, s.width)
        first_y, last_y = ceil_in(upper, s.height), floor_in(lower, s.height)
    first_x, first_y = 0 if first_x < 0 else first_x, 0 if first_y < 0 else first_y
    last_x = s.width - 1 if last_x >= s.width else last_x
    last_y = s.height - 1 if last_y >= s.height else last_y
    if first_x > last_x or first_y > last_y:
        return 0
    s.found[at, 0] = name
    s.found[at, 1], s.found[at, 2] = first_x, last_x
    s.found[at, 3], s.found[at, 4] = first_y, last_y
    cost[first_y] += 8 + last_x - first_x
    cost[last_y + 1] -= 8 + last_x - first_x
    return 1


cdef inline int fill_published(Scene s, Py_ssize_t at, int first, int last) except -1 nogil:
    """Rows first..last of a triangle, rules `inclusive` and `strict`."""
    cdef int t = s.found[at, 0], x, y, left = s.found[at, 1], right = s.found[at, 2]
    cdef int i0 = s.triangles[t, 0], i1 = s.triangles[t, 1], i2 = s.triangles[t, 2]
    cdef float x0 = s.vertices[i0, 0], y0 = s.vertices[i0, 1], z0 = s.vertices[i0, 2]
    cdef float z1 = s.vertices[i1, 2], z2 = s.vertices[i2, 2]
    cdef float ax = s.vertices[i2, 0] - x0, ay = s.vertices[i2, 1] - y0
    cdef float bx = s.vertices[i1, 0] - x0, by = s.vertices[i1, 1] - y0
    cdef float d00 = ax * ax + ay * ay, d01 = ax * bx + ay * by, d11 = bx * bx + by * by
    cdef float determinant = d00 * d11 - d01 * d01
    cdef float k = 0, qx, qy, a_row, b_row, d02, d12, u, v, w, z
    cdef bint strict = s.rule == STRICT
    if determinant != 0:
        k = ONE / determinant
    elif strict:
        return 0
    for y in range(first, last + 1):
        qy = <float>y - y0
        a_row, b_row = ay * qy, by * qy
        for x in range(left, right + 1):
            qx = <float>x - x0
            d02, d12 = ax * qx + a_row, bx * qx + b_row
            u = (d11 * d02 - d01 * d12) * k
            v = (d00 * d12 - d01 * d02) * k
            w = (ONE - u) - v
            if (w > 0) & (v > 0) & (u > 0) if strict else (u >= 0) & (v >= 0) & (u + v < ONE):  # one branch
                z = w * z0 + v * z1 + u * z2
                if z > s.depth[y, x]:
                    put(s, y, x, t, i0, i1, i2, w, v, u, z)
    return 0


cdef inline int fill_top_left(Scene s, Py_ssize_t at, int first, int last) except -1 nogil:
    """Rows first..last of a triangle: a pixel on an edge belongs to it if the edge is a top or a left one.

    Edge functions are whole numbers without rounding, so that they can be stepped from pixel to pixel.
    """
    cdef int t = s.found[at, 0], x, y, left = s.found[at, 1], right = s.found[at, 2]
    cdef int i0 = s.triangles[t, 0], i1 = s.triangles[t, 1], i2 = s.triangles[t, 2]
    cdef double x0 = near(s.vertices[i0, 0]), x1 = near(s.vertices[i1, 0]), x2 = near(s.vertices[i2, 0])
    cdef double y0 = near(s.vertices[i0, 1]), y1 = near(s.vertices[i1, 1]), y2 = near(s.vertices[i2, 1])
    cdef float z0 = s.vertices[i0, 2], z1 = s.vertices[i1, 2], z2 = s.vertices[i2, 2]
    cdef double area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    cdef double side, inverse, px, py, e0, e1, e2, row0, row1, row2
    cdef double across0, across1, across2, down0, down1, down2, owed0, owed1, owed2
    cdef float w0, w1, w2, z
    cdef bint entered
    if area == 0:
        return 0
    side = 1 if area > 0 else -1  # opposite orientation: every sign changes
    inverse = side / area
    across0, down0 = side * (y1 - y2), side * (x2 - x1)
    across1, down1 = side * (y2 - y0), side * (x0 - x2)
    across2, down2 = side * (y0 - y1), side * (x1 - x0)
    owed0, owed1, owed2 = owed(across0, down0), owed(across1, down1), owed(across2, down2)
    px, py = GRID * left, GRID * first
    row0 = across0 * (px - x1) + down0 * (py - y1) - owed0
    row1 = across1 * (px - x2) + down1 * (py - y2) - owed1
    row2 = across2 * (px - x0) + down2 * (py - y0) - owed2
    across0, across1, across2 = GRID * across0, GRID * across1, GRID * across2
    down0, down1, down2 = GRID * down0, GRID * down1, GRID * down2
    for y in range(first, last + 1):
        e0, e1, e2, entered = row0, row1, row2, False
        for x in range(left, right + 1):
            if e0 >= 0 and e1 >= 0 and e2 >= 0:
                entered = True
                w0, w1, w2 = <float>((e0 + owed0) * inverse), <float>((e1 + owed1) * inverse), \
                    <float>((e2 + owed2) * inverse)
                z = w0 * z0 + w1 * z1 + w2 * z2
                if z > s.depth[y, x]:
                    put(s, y, x, t, i0, i1, i2, w0, w1, w2, z)
            elif entered:
                break
            e0, e1, e2 = e0 + across0, e1 + across1, e2 + across2
        row0, row1, row2 = row0 + down0, row1 + down1, row2 + down2
    return 0


cdef int fill_top_left_far(Scene s, Py_ssize_t at, int first, int last) except -1 nogil:
    """The same beyond the exact range: an edge is computed alike for both triangles that share it."""
    cdef int t = -1 - s.found[at, 0], x, y, left = s.found[at, 1], right = s.found[at, 2]
    cdef int i0 = s.triangles[t, 0], i1 = s.triangles[t, 1], i2 = s.triangles[t, 2]
    cdef double x0 = snap(s.vertices[i0, 0]), x1 = snap(s.vertices[i1, 0]), x2 = snap(s.vertices[i2, 0])
    cdef double y0 = snap(s.vertices[i0, 1]), y1 = snap(s.vertices[i1, 1]), y2 = snap(s.vertices[i2, 1])
    cdef float z0 = s.vertices[i0, 2], z1 = s.vertices[i1, 2], z2 = s.vertices[i2, 2]
    cdef double area = edge(x0, y0, x1, y1, x2, y2), side, px, py, e0, e1, e2, inverse
    cdef float w0, w1, w2, z
    if area == 0:
        return 0
    side = 1 if area > 0 else -1
    for y in range(first, last + 1):
        py = GRID * y
        for x in range(left, right + 1):
            px = GRID * x
            e0 = side * edge(x1, y1, x2, y2, px, py)
            e1 = side * edge(x2, y2, x0, y0, px, py)
            e2 = side * edge(x0, y0, x1, y1, px, py)
            if (
                (e0 > 0 or (e0 == 0 and owed(side * (y1 - y2), side * (x2 - x1)) == 0))
                and (e1 > 0 or (e1 == 0 and owed(side * (y2 - y0), side * (x0 - x2)) == 0))
                and (e2 > 0 or (e2 == 0 and owed(side * (y0 - y1), side * (x1 - x0)) == 0))
            ):
                inverse = 1 / (e0 + e1 + e2)
                w0, w1, w2 = <float>(e0 * inverse), <float>(e1 * inverse), <float>(e2 * inverse)
                z = w0 * z0 + w1 * z1 + w2 * z2
                if z > s.depth[y, x]:
                    put(s, y, x, t, i0, i1, i2, w0, w1, w2, z)
    return 0


cdef inline int put(
    Scene s, int y, int x, int t, int i0, int i1, int i2, float w0, float w1, float w2, float z
) except -1 nogil:
    """Write an accepted fragment: its depth, and its colour or its triangle and weights."""
    cdef int c, row
    cdef float value
    s.depth[y, x] = z
    if s.painting:
        row = s.height - 1 - y if s.reverse else y
        for c in range(s.channels):
            value = w0 * s.colors[i0, c] + w1 * s.colors[i1, c] + w2 * s.colors[i2, c]
            value = s.keep * <float>s.image[row, x, c] + s.paint * value
            s.image[row, x, c] = <unsigned char>value if 0 < value < 255 else (255 if value >= 255 else 0)
    else:
        s.ids[y, x] = t
        s.weights[y, x, 0], s.weights[y, x, 1], s.weights[y, x, 2] = w0, w1, w2
    return 0


cdef inline double edge(double ax, double ay, double bx, double by, double px, double py) noexcept nogil:
    """Side of the line a-b on which p lies; edge(b, a) is exactly -edge(a, b)."""
    if ax > bx or (ax == bx and ay > by):
        return -((ax - bx) * (py - by) - (ay - by) * (px - bx))
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


cdef inline double owed(double across, double down) noexcept nogil:
    """0 if pixels on an edge with these steps belong to it (left, or level and top), else 1."""
    return 0 if across > 0 or (across == 0 and down > 0) else 1


cdef inline double snap(float x) noexcept nogil:
    """Nearest position on the grid, in units of the grid (a tie goes to the even one)."""
    cdef double scaled = GRID * <double>x
    return (scaled + ROUND) - ROUND if fabs(scaled) < 2251799813685248.0 else scaled


cdef inline double near(float x) noexcept nogil:
    """`snap` of a position that is known not to be far away."""
    return (GRID * <double>x + ROUND) - ROUND


cdef inline float least(float a, float b, float c) noexcept nogil:
    cdef float low = a if a < b else b
    return c if c < low else low


cdef inline int floor_in(double x, int size) noexcept nogil:
    """Floor of x, of -1 and size + 1 where it lies beyond them."""
    cdef double held = -1 if x < -1 else (size + 1 if x > size + 1 else x)
    cdef int whole = <int>held
    return whole - (held < whole)


cdef inline int ceil_in(double x, int size) noexcept nogil:
    """Ceiling of x, of -1 and size + 1 where it lies beyond them."""
    cdef double held = -1 if x < -1 else (size + 1 if x > size + 1 else x)
    cdef int whole = <int>held
    return whole + (held > whole)


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
