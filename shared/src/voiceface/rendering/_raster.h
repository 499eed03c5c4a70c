/* Rasterization of triangles (private; compiled into _raster.pyx).
 *
 * `draw_rows` draws all triangles, in order, into a band of rows. Bands are independent and may be drawn in parallel;
 * no value depends on them. float32 values are computed operation by operation as in the published program: the
 * compiler must neither fuse nor reorder them.
 *
 * There are two ways to the same values. `draw_one` serves every triangle. `draw_block` takes triangles 32 at a time:
 * boxes, edges and the coverage of boxes of up to 4 x 4 pixels are computed for four triangles at once, larger boxes
 * four pixels at once. It needs the vectors of GCC or Clang, and corners within 16,384 pixels.
 */

#include <math.h>
#include <stddef.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#ifdef RASTER_CHECKED /* for tests: leave at the first access beyond an array */
#include <stdlib.h>
#define WITHIN(condition) ((condition) ? (void)0 : abort())
#else
#define WITHIN(condition) ((void)0)
#endif

enum { /* as in arrays.COVERAGE */
    TOP_LEFT, /* positions on a grid of 1 / 2048 pixel, exact */
    INCLUSIVE,
    STRICT,
    INCLUSIVE_WITHIN /* the inclusive test within the bounding box of the strict one */
};

typedef struct {
    const float *vertices; /* (V, 3) pixels */
    const int *triangles;  /* (T, 3), every number in 0..V-1 */
    const float *colors;   /* (V, C) */
    unsigned char *image;  /* (H, W, C); NULL: ids and weights are written instead */
    float *depth;          /* (H, W) */
    int *ids;              /* (H, W) */
    float *weights;        /* (H, W, 3) */
    int num_vertices, num_triangles, height, width, channels, rule, reverse;
    float keep, paint; /* value = keep * old + paint * colour */
} canvas;

typedef struct {
    int left, right, first, last; /* columns, rows */
} box;

static const double GRID = 2048.0;
static const double EXACT = 2048.0 * 16384.0;     /* up to here edge functions are integers below 2^53 */
static const double ROUND = 6755399441055744.0;   /* 1.5 * 2^52: adding and subtracting it rounds to an integer */
static const double INT_LIMIT = 2147483648.0;

/* ---- fragments ---- */

/* An accepted fragment: its depth, and its colour or its triangle and weights. */
static inline void put(const canvas *s, int y, int x, int t, float w0, float w1, float w2, float z)
{
    const int *corner = s->triangles + 3 * (size_t)t;
    size_t at = (size_t)y * s->width + x;
    WITHIN(y >= 0 && y < s->height && x >= 0 && x < s->width && t >= 0 && t < s->num_triangles);
    s->depth[at] = z;
    if (!s->image) {
        float *weights = s->weights + 3 * at;
        s->ids[at] = t;
        weights[0] = w0, weights[1] = w1, weights[2] = w2;
        return;
    }
    {
        const int n = s->channels;
        const float *c0 = s->colors + (size_t)n * corner[0];
        const float *c1 = s->colors + (size_t)n * corner[1];
        const float *c2 = s->colors + (size_t)n * corner[2];
        unsigned char *pixel = s->image + ((size_t)(s->reverse ? s->height - 1 - y : y) * s->width + x) * n;
        const float keep = s->keep, paint = s->paint;
        for (int c = 0; c < n; c++) {
            float value = w0 * c0[c] + w1 * c1[c] + w2 * c2[c];
            value = keep * (float)pixel[c] + paint * value;
            value = value > 0 ? value : 0; /* NaN gives 0 */
            pixel[c] = (unsigned char)(value < 255 ? value : 255);
        }
    }
}

/* ---- any triangle ---- */

static inline float least(float a, float b, float c)
{
    float low = a < b ? a : b;
    return c < low ? c : low;
}

/* Nearest position on the grid, in units of the grid (a tie goes to the even one). */
static inline double snap(float x)
{
    double scaled = GRID * (double)x;
    return fabs(scaled) < 2251799813685248.0 ? (scaled + ROUND) - ROUND : scaled;
}

/* Side of the line a-b on which p lies; edge(b, a) is exactly -edge(a, b). */
static inline double edge(double ax, double ay, double bx, double by, double px, double py)
{
    if (ax > bx || (ax == bx && ay > by))
        return -((ax - bx) * (py - by) - (ay - by) * (px - bx));
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax);
}

/* 0 if pixels on an edge with these steps belong to it (left, or level and top), else 1. */
static inline double owed(double across, double down)
{
    return across > 0 || (across == 0 && down > 0) ? 0 : 1;
}

/* Floor and ceiling of x, of -1 and size + 1 where it lies beyond them. */
static inline int floor_in(double x, int size)
{
    double held = x < -1 ? -1 : x > (double)size + 1 ? (double)size + 1 : x;
    int whole = (int)held;
    return whole - (held < whole);
}

static inline int ceil_in(double x, int size)
{
    double held = x < -1 ? -1 : x > (double)size + 1 ? (double)size + 1 : x;
    int whole = (int)held;
    return whole + (held > whole);
}

/* Pixels of rows top..bottom-1 that a triangle may cover: 0 none, 1 some, -1 some where TOP_LEFT is not exact. */
static int find_box(const canvas *s, int t, int top, int bottom, box *found)
{
    const int *corner = s->triangles + 3 * (size_t)t;
    const float *p0 = s->vertices + 3 * (size_t)corner[0];
    const float *p1 = s->vertices + 3 * (size_t)corner[1];
    const float *p2 = s->vertices + 3 * (size_t)corner[2];
    double left = least(p0[0], p1[0], p2[0]), right = -least(-p0[0], -p1[0], -p2[0]);
    double upper = least(p0[1], p1[1], p2[1]), lower = -least(-p0[1], -p1[1], -p2[1]);
    int kind = 1;
    for (int axis = 0; axis < 3; axis++)
        if (!(p0[axis] - p0[axis] + (p1[axis] - p1[axis]) + (p2[axis] - p2[axis]) == 0))
            return 0; /* infinity or NaN less itself is NaN */
    if (s->rule == TOP_LEFT) {
        left = snap((float)left), right = snap((float)right), upper = snap((float)upper), lower = snap((float)lower);
        if (left < -EXACT || right > EXACT || upper < -EXACT || lower > EXACT || s->width > 16384 || s->height > 16384)
            kind = -1;
        left /= GRID, right /= GRID, upper /= GRID, lower /= GRID;
    } else if (left < -INT_LIMIT || right >= INT_LIMIT || upper < -INT_LIMIT || lower >= INT_LIMIT) {
        return 0; /* undefined in the published program */
    }
    if (right <= -1 || lower <= -1 || left >= s->width || upper >= s->height)
        return 0;
    if (s->rule == INCLUSIVE) {
        found->left = floor_in(left, s->width), found->right = ceil_in(right, s->width);
        found->first = floor_in(upper, s->height), found->last = ceil_in(lower, s->height);
    } else {
        found->left = ceil_in(left, s->width), found->right = floor_in(right, s->width);
        found->first = ceil_in(upper, s->height), found->last = floor_in(lower, s->height);
    }
    found->left = found->left < 0 ? 0 : found->left;
    found->first = found->first < top ? top : found->first;
    found->right = found->right >= s->width ? s->width - 1 : found->right;
    found->last = found->last >= bottom ? bottom - 1 : found->last;
    return found->left <= found->right && found->first <= found->last ? kind : 0;
}

/* Rules `inclusive` and `strict`. */
static void fill_published(const canvas *s, int t, const box *b)
{
    const int *corner = s->triangles + 3 * (size_t)t;
    const float *p0 = s->vertices + 3 * (size_t)corner[0];
    const float *p1 = s->vertices + 3 * (size_t)corner[1];
    const float *p2 = s->vertices + 3 * (size_t)corner[2];
    const float x0 = p0[0], y0 = p0[1], z0 = p0[2], z1 = p1[2], z2 = p2[2];
    const float ax = p2[0] - x0, ay = p2[1] - y0, bx = p1[0] - x0, by = p1[1] - y0;
    const float d00 = ax * ax + ay * ay, d01 = ax * bx + ay * by, d11 = bx * bx + by * by;
    const float determinant = d00 * d11 - d01 * d01, k = determinant != 0 ? 1 / determinant : 0;
    const int strict = s->rule == STRICT;
    if (strict && !(determinant != 0))
        return;
    for (int y = b->first; y <= b->last; y++) {
        const float qy = (float)y - y0, a_row = ay * qy, b_row = by * qy;
        const float *depth = s->depth + (size_t)y * s->width;
        for (int x = b->left; x <= b->right; x++) {
            const float qx = (float)x - x0, d02 = ax * qx + a_row, d12 = bx * qx + b_row;
            const float u = (d11 * d02 - d01 * d12) * k, v = (d00 * d12 - d01 * d02) * k, w = (1 - u) - v;
            if (strict ? (w > 0) & (v > 0) & (u > 0) : (u >= 0) & (v >= 0) & (u + v < 1)) {
                const float z = w * z0 + v * z1 + u * z2;
                if (z > depth[x])
                    put(s, y, x, t, w, v, u, z);
            }
        }
    }
}

/* A pixel on an edge belongs to the triangle if the edge is a top or a left one.
 *
 * Edge functions are whole numbers without rounding, so that they can be stepped from pixel to pixel. */
static void fill_top_left(const canvas *s, int t, const box *b)
{
    const int *corner = s->triangles + 3 * (size_t)t;
    const float *p0 = s->vertices + 3 * (size_t)corner[0];
    const float *p1 = s->vertices + 3 * (size_t)corner[1];
    const float *p2 = s->vertices + 3 * (size_t)corner[2];
    const double x0 = snap(p0[0]), y0 = snap(p0[1]), x1 = snap(p1[0]), y1 = snap(p1[1]);
    const double x2 = snap(p2[0]), y2 = snap(p2[1]);
    const float z0 = p0[2], z1 = p1[2], z2 = p2[2];
    const double area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0);
    const double side = area > 0 ? 1 : -1; /* opposite orientation: every sign changes */
    const double inverse = side / area, px = GRID * b->left, py = GRID * b->first;
    double across0 = side * (y1 - y2), down0 = side * (x2 - x1), owed0 = owed(across0, down0);
    double across1 = side * (y2 - y0), down1 = side * (x0 - x2), owed1 = owed(across1, down1);
    double across2 = side * (y0 - y1), down2 = side * (x1 - x0), owed2 = owed(across2, down2);
    double row0 = across0 * (px - x1) + down0 * (py - y1) - owed0;
    double row1 = across1 * (px - x2) + down1 * (py - y2) - owed1;
    double row2 = across2 * (px - x0) + down2 * (py - y0) - owed2;
    if (area == 0)
        return;
    across0 *= GRID, across1 *= GRID, across2 *= GRID, down0 *= GRID, down1 *= GRID, down2 *= GRID;
    for (int y = b->first; y <= b->last; y++) {
        const float *depth = s->depth + (size_t)y * s->width;
        double e0 = row0, e1 = row1, e2 = row2;
        int entered = 0;
        for (int x = b->left; x <= b->right; x++) {
            if (e0 >= 0 && e1 >= 0 && e2 >= 0) {
                const float w0 = (float)((e0 + owed0) * inverse), w1 = (float)((e1 + owed1) * inverse);
                const float w2 = (float)((e2 + owed2) * inverse), z = w0 * z0 + w1 * z1 + w2 * z2;
                entered = 1;
                if (z > depth[x])
                    put(s, y, x, t, w0, w1, w2, z);
            } else if (entered) {
                break;
            }
            e0 += across0, e1 += across1, e2 += across2;
        }
        row0 += down0, row1 += down1, row2 += down2;
    }
}

/* The same beyond the exact range: an edge is computed alike for both triangles that share it. */
static void fill_top_left_far(const canvas *s, int t, const box *b)
{
    const int *corner = s->triangles + 3 * (size_t)t;
    const float *p0 = s->vertices + 3 * (size_t)corner[0];
    const float *p1 = s->vertices + 3 * (size_t)corner[1];
    const float *p2 = s->vertices + 3 * (size_t)corner[2];
    const double x0 = snap(p0[0]), y0 = snap(p0[1]), x1 = snap(p1[0]), y1 = snap(p1[1]);
    const double x2 = snap(p2[0]), y2 = snap(p2[1]);
    const double area = edge(x0, y0, x1, y1, x2, y2), side = area > 0 ? 1 : -1;
    const int on0 = owed(side * (y1 - y2), side * (x2 - x1)) == 0;
    const int on1 = owed(side * (y2 - y0), side * (x0 - x2)) == 0;
    const int on2 = owed(side * (y0 - y1), side * (x1 - x0)) == 0;
    if (area == 0)
        return;
    for (int y = b->first; y <= b->last; y++) {
        const double py = GRID * y;
        for (int x = b->left; x <= b->right; x++) {
            const double px = GRID * x;
            const double e0 = side * edge(x1, y1, x2, y2, px, py), e1 = side * edge(x2, y2, x0, y0, px, py);
            const double e2 = side * edge(x0, y0, x1, y1, px, py);
            if ((e0 > 0 || (e0 == 0 && on0)) && (e1 > 0 || (e1 == 0 && on1)) && (e2 > 0 || (e2 == 0 && on2))) {
                const double inverse = 1 / (e0 + e1 + e2);
                const float w0 = (float)(e0 * inverse), w1 = (float)(e1 * inverse), w2 = (float)(e2 * inverse);
                const float z = w0 * p0[2] + w1 * p1[2] + w2 * p2[2];
                if (z > s->depth[(size_t)y * s->width + x])
                    put(s, y, x, t, w0, w1, w2, z);
            }
        }
    }
}

static void draw_one(const canvas *s, int t, int top, int bottom)
{
    box b;
    const int kind = find_box(s, t, top, bottom, &b);
    WITHIN(!kind || (b.left >= 0 && b.right < s->width && b.first >= top && b.last < bottom));
    if (kind && s->rule != TOP_LEFT)
        fill_published(s, t, &b);
    else if (kind > 0)
        fill_top_left(s, t, &b);
    else if (kind < 0)
        fill_top_left_far(s, t, &b);
}

/* ---- 32 triangles at once ---- */

#if defined(__GNUC__)

#define BLOCK 32
#define SIDE 4 /* of the boxes whose pixels are bits of `code`: row by row */
#define LARGE (1 << 16) /* in `code`: a larger box */
#define HUGE_BOX (1 << 17) /* in `code`: edge functions do not fit into 32 bits */

typedef float f4 __attribute__((vector_size(16)));
typedef int i4 __attribute__((vector_size(16)));
typedef unsigned u4 __attribute__((vector_size(16)));

static const float TAME = 16384.0f; /* corners beyond are left to draw_one */
static const int INT_EXTENT = 22 * 2048; /* of boxes whose edge functions fit into 32 bits, on the grid */
static const float SLACK = 0.03125f; /* of a shrunk box, in pixels */

/* Corners, boxes and edges of the triangles of a block. */
typedef struct {
    float x0[BLOCK], y0[BLOCK], x1[BLOCK], y1[BLOCK], x2[BLOCK], y2[BLOCK];
    int left[BLOCK], right[BLOCK], first[BLOCK], last[BLOCK], code[BLOCK];
    float ax[BLOCK], ay[BLOCK], bx[BLOCK], by[BLOCK], d00[BLOCK], d01[BLOCK], d11[BLOCK], k[BLOCK];
    int row[3][BLOCK], across[3][BLOCK], down[3][BLOCK], owed[3][BLOCK], area[BLOCK];
    union {
        struct { float u[BLOCK], v[BLOCK]; } published[SIDE * SIDE];
        struct { int e[3][BLOCK]; } top_left[SIDE * SIDE];
    } at; /* the pixels of a small box */
} block;

static inline f4 load_f(const float *p) { f4 v; memcpy(&v, p, sizeof v); return v; }
static inline i4 load_i(const int *p) { i4 v; memcpy(&v, p, sizeof v); return v; }
static inline void save_f(float *p, f4 v) { memcpy(p, &v, sizeof v); }
static inline void save_i(int *p, i4 v) { memcpy(p, &v, sizeof v); }
static inline f4 to_f(i4 v) { return __builtin_convertvector(v, f4); }
static inline i4 pick(i4 mask, i4 yes, i4 no) { return (mask & yes) | (~mask & no); }

#if defined(__SSE2__)
static inline f4 low(f4 a, f4 b) { return (f4)_mm_min_ps((__m128)a, (__m128)b); }
static inline f4 high(f4 a, f4 b) { return (f4)_mm_max_ps((__m128)a, (__m128)b); }
static inline int bits_of(i4 mask) { return _mm_movemask_ps((__m128)mask); }
static inline i4 nearest(f4 v) { return (i4)_mm_cvtps_epi32((__m128)v); } /* a tie goes to the even one */
#else
static inline f4 low(f4 a, f4 b) { return (f4)pick(a < b, (i4)a, (i4)b); }
static inline f4 high(f4 a, f4 b) { return (f4)pick(a > b, (i4)a, (i4)b); }
static inline int bits_of(i4 m) { return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8); }
static inline i4 nearest(f4 v)
{
    i4 n;
    for (int i = 0; i < 4; i++)
        n[i] = (int)rint((double)v[i]);
    return n;
}
#endif

static inline i4 floor_of(f4 v) { i4 n = __builtin_convertvector(v, i4); return n + (to_f(n) > v); }
static inline i4 ceil_of(f4 v) { i4 n = __builtin_convertvector(v, i4); return n - (to_f(n) < v); }

/* Bits of the columns and rows that a small box has, of the pixels that SIDE x SIDE would have. */
static inline i4 pixels_of(i4 columns, i4 rows)
{
    i4 bits = {1, 1, 1, 1};
    bits |= ((columns > 1) & 2) | ((columns > 2) & 4) | ((columns > 3) & 8);
    return bits | ((rows > 1) & (bits << 4)) | ((rows > 2) & (bits << 8)) | ((rows > 3) & (bits << 12));
}

/* What the triangle at hand is drawn with. */
typedef struct {
    int t, hued;
    float z0, z1, z2;
    f4 c0, c1, c2; /* colours of the corners, if `hued`: opacity 1 and three channels */
    float paint;
} brush;

/* Steps from the first pixel of a small box to its others, in depths and in bytes of three channels. */
typedef struct { ptrdiff_t depths[SIDE * SIDE], bytes[SIDE * SIDE]; } steps;

static inline f4 load_3(const float *p) { return (f4){p[0], p[1], p[2], 0}; }

/* `put` for opacity 1 and three channels. */
static inline void put_hue(const brush *p, float *depth, unsigned char *pixel, float w0, float w1, float w2, float z)
{
    f4 value = (w0 * p->c0 + w1 * p->c1 + w2 * p->c2) * p->paint;
    *depth = z;
#if defined(__SSE2__)
    {
        const __m128 zero = _mm_setzero_ps(), full = _mm_set1_ps(255.0f);
        __m128i whole = _mm_cvttps_epi32(_mm_min_ps(_mm_max_ps((__m128)value, zero), full)); /* NaN gives 0 */
        whole = _mm_packs_epi32(whole, whole);
        whole = _mm_packus_epi16(whole, whole);
        {
            const unsigned packed = (unsigned)_mm_cvtsi128_si32(whole);
            const unsigned short pair = (unsigned short)packed;
            memcpy(pixel, &pair, 2);
            pixel[2] = (unsigned char)(packed >> 16);
        }
    }
#else
    for (int c = 0; c < 3; c++) {
        const float held = value[c] > 0 ? value[c] : 0;
        pixel[c] = (unsigned char)(held < 255 ? held : 255);
    }
#endif
}

/* The image's pixel of column 0 in a row. */
static inline unsigned char *pixel_row(const canvas *s, int y)
{
    return s->image + 3 * (size_t)s->width * (size_t)(s->reverse ? s->height - 1 - y : y);
}

/* Four pairs into firsts and seconds. */
static inline void part(const float *pairs, f4 *x, f4 *y)
{
    const f4 a = load_f(pairs), b = load_f(pairs + 4);
#if defined(__clang__)
    *x = __builtin_shufflevector(a, b, 0, 2, 4, 6), *y = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#else
    *x = __builtin_shuffle(a, b, (i4){0, 2, 4, 6}), *y = __builtin_shuffle(a, b, (i4){1, 3, 5, 7});
#endif
}

/* Corners of `count` triangles; 0 if rows top..bottom-1 have none of them, -1 if a corner is not tame. */
static int gather(const canvas *s, block *b, int start, int count, int top, int bottom)
{
    f4 upper = {TAME, TAME, TAME, TAME}, lower = -upper, most = {0, 0, 0, 0};
    i4 wild = {0, 0, 0, 0};
    float pairs[3][BLOCK][2];
    for (int i = 0; i < count; i++) {
        const int *corner = s->triangles + 3 * (size_t)(start + i);
        const float *p0 = s->vertices + 3 * (size_t)corner[0];
        const float *p1 = s->vertices + 3 * (size_t)corner[1];
        const float *p2 = s->vertices + 3 * (size_t)corner[2];
        WITHIN(corner[0] < s->num_vertices && corner[1] < s->num_vertices && corner[2] < s->num_vertices);
        memcpy(pairs[0][i], p0, sizeof *pairs[0]), memcpy(pairs[1][i], p1, sizeof *pairs[1]);
        memcpy(pairs[2][i], p2, sizeof *pairs[2]);
    }
    for (int i = count; i < ((count + 3) & ~3); i++) /* up to a whole vector, above the image */
        for (int n = 0; n < 3; n++)
            pairs[n][i][0] = pairs[n][i][1] = -100;
    for (int i = 0; i < count; i += 4) {
        f4 x0, y0, x1, y1, x2, y2;
        part(pairs[0][i], &x0, &y0), part(pairs[1][i], &x1, &y1), part(pairs[2][i], &x2, &y2);
        const f4 low_y = low(y0, low(y1, y2)), high_y = high(y0, high(y1, y2));
        const f4 low_x = low(x0, low(x1, x2)), high_x = high(x0, high(x1, x2));
        const f4 sum = (x0 + x1 + x2) + (y0 + y1 + y2); /* NaN and infinity */
        upper = low(upper, low_y), lower = high(lower, high_y);
        most = high(most, high(high(high_x, high_y), -low(low_x, low_y)));
        wild |= ~(sum - sum == 0.0f);
        save_f(b->x0 + i, x0), save_f(b->y0 + i, y0), save_f(b->x1 + i, x1), save_f(b->y1 + i, y1);
        save_f(b->x2 + i, x2), save_f(b->y2 + i, y2);
    }
    if (bits_of(wild | (most > TAME)))
        return -1;
    for (int i = 1; i < 4; i++) {
        upper[0] = upper[i] < upper[0] ? upper[i] : upper[0];
        lower[0] = lower[i] > lower[0] ? lower[i] : lower[0];
    }
    return lower[0] > (float)top - 2 && upper[0] < (float)bottom + 1;
}

typedef struct { f4 x0, y0, ax, ay, bx, by, d00, d01, d11, k; } four;

/* Which of the first side x side pixels of four boxes are covered, as bits; their weights. */
static inline __attribute__((always_inline)) i4 cover_published(block *b, int i, const four *f, f4 left, f4 first,
                                                                int strict, const int side)
{
    i4 covered = {0, 0, 0, 0};
    for (int y = 0; y < side; y++) {
        const f4 qy = (first + (float)y) - f->y0, a_row = f->ay * qy, b_row = f->by * qy;
        for (int x = 0; x < side; x++) {
            const int j = SIDE * y + x;
            const f4 qx = (left + (float)x) - f->x0, d02 = f->ax * qx + a_row, d12 = f->bx * qx + b_row;
            const f4 u = (f->d11 * d02 - f->d01 * d12) * f->k, v = (f->d00 * d12 - f->d01 * d02) * f->k;
            const i4 inside = strict ? ((1.0f - u) - v > 0.0f) & (v > 0.0f) & (u > 0.0f)
                                     : (u >= 0.0f) & (v >= 0.0f) & (u + v < 1.0f);
            covered |= inside & (1 << j);
            save_f(b->at.published[j].u + i, u), save_f(b->at.published[j].v + i, v);
        }
    }
    return covered;
}

/* Boxes and edges under the published rules; the pixels that small ones cover.
 *
 * The inclusive rule also tests the pixels around the corners' box, where rounding alone could cover one. With unit
 * roundoff E = 2^-24, edges at most L long and D the squared double area, u and v are wrong by at most
 * 24 E (2 L + 1.5) L^3 / D, so that no pixel farther than 81 E (2 L + 1.5) L^4 / D from the corners' box is covered.
 * Where this is below half of SLACK, which is almost everywhere, the pixels beyond SLACK are left out. */
static void prepare_published(const canvas *s, block *b, int count, int top, int bottom)
{
    const int strict = s->rule == STRICT, inclusive = s->rule == INCLUSIVE;
    const i4 zero = {0, 0, 0, 0}, last_x = zero + (s->width - 1), last_y = zero + (bottom - 1);
    const i4 first_y = zero + top;
    for (int i = 0; i < count; i += 4) {
        const f4 x0 = load_f(b->x0 + i), x1 = load_f(b->x1 + i), x2 = load_f(b->x2 + i);
        const f4 y0 = load_f(b->y0 + i), y1 = load_f(b->y1 + i), y2 = load_f(b->y2 + i);
        const f4 low_x = low(x0, low(x1, x2)), high_x = high(x0, high(x1, x2));
        const f4 low_y = low(y0, low(y1, y2)), high_y = high(y0, high(y1, y2));
        const f4 ax = x2 - x0, ay = y2 - y0, bx = x1 - x0, by = y1 - y0;
        const f4 d00 = ax * ax + ay * ay, d01 = ax * bx + ay * by, d11 = bx * bx + by * by;
        const f4 determinant = d00 * d11 - d01 * d01;
        const f4 k = (f4)((i4)(1.0f / determinant) & (determinant != 0.0f));
        i4 left, right, first, last, columns, rows, keep, small, code;
        if (inclusive) {
            const f4 length = (high_x - low_x) + (high_y - low_y), square = length * length;
            const i4 shrunk = (length > 0.0009765625f)
                & ((2.0f * length + 1.5f) * (square * square) < 3000.0f * determinant);
            left = pick(shrunk, ceil_of(low_x - SLACK), floor_of(low_x));
            right = pick(shrunk, floor_of(high_x + SLACK), ceil_of(high_x));
            first = pick(shrunk, ceil_of(low_y - SLACK), floor_of(low_y));
            last = pick(shrunk, floor_of(high_y + SLACK), ceil_of(high_y));
        } else {
            left = ceil_of(low_x), right = floor_of(high_x), first = ceil_of(low_y), last = floor_of(high_y);
        }
        left = left & ~(left < zero), right = pick(right > last_x, last_x, right);
        first = pick(first < first_y, first_y, first), last = pick(last > last_y, last_y, last);
        keep = (left <= right) & (first <= last);
        if (strict)
            keep &= determinant != 0.0f;
        if (!bits_of(keep)) {
            save_i(b->code + i, zero);
            continue;
        }
        columns = right - left + 1, rows = last - first + 1;
        small = keep & (columns <= SIDE) & (rows <= SIDE);
        code = keep & ~small & LARGE;
        if (bits_of(small)) {
            const four f = {x0, y0, ax, ay, bx, by, d00, d01, d11, k};
            const i4 extent = pick(columns > rows, columns, rows) & small;
            const f4 left_f = to_f(left), first_f = to_f(first);
            i4 covered;
            if (!bits_of(extent > 2))
                covered = cover_published(b, i, &f, left_f, first_f, strict, 2);
            else if (!bits_of(extent > 3))
                covered = cover_published(b, i, &f, left_f, first_f, strict, 3);
            else
                covered = cover_published(b, i, &f, left_f, first_f, strict, 4);
            code |= small & covered & pixels_of(columns, rows);
        }
        save_i(b->left + i, left), save_i(b->right + i, right), save_i(b->first + i, first), save_i(b->last + i, last);
        save_i(b->code + i, code);
        if (bits_of(code == LARGE)) {
            save_f(b->ax + i, ax), save_f(b->ay + i, ay), save_f(b->bx + i, bx), save_f(b->by + i, by);
            save_f(b->d00 + i, d00), save_f(b->d01 + i, d01), save_f(b->d11 + i, d11), save_f(b->k + i, k);
        }
    }
}

static inline i4 times(i4 a, i4 b) { return (i4)((u4)a * (u4)b); }

static inline __attribute__((always_inline)) i4 cover_top_left(block *b, int i, const i4 *row, const i4 *across,
                                                               const i4 *down, const int side)
{
    i4 covered = {0, 0, 0, 0}, row0 = row[0], row1 = row[1], row2 = row[2];
    for (int y = 0; y < side; y++) {
        i4 e0 = row0, e1 = row1, e2 = row2;
        for (int x = 0; x < side; x++) {
            const int j = SIDE * y + x;
            covered |= ~((e0 | e1 | e2) >> 31) & (1 << j);
            save_i(b->at.top_left[j].e[0] + i, e0), save_i(b->at.top_left[j].e[1] + i, e1);
            save_i(b->at.top_left[j].e[2] + i, e2);
            e0 += across[0] << 11, e1 += across[1] << 11, e2 += across[2] << 11;
        }
        row0 += down[0] << 11, row1 += down[1] << 11, row2 += down[2] << 11;
    }
    return covered;
}

/* The same under the rule `top_left`: edge functions, less 1 where an edge does not own its pixels.
 *
 * Within its box an edge function is at most width times height of the box, so that it fits into 32 bits up to 22 x 22
 * pixels; sums may wrap on the way (-fwrapv). */
static void prepare_top_left(const canvas *s, block *b, int count, int top, int bottom)
{
    const i4 zero = {0, 0, 0, 0}, one = {1, 1, 1, 1}, last_x = zero + (s->width - 1), last_y = zero + (bottom - 1);
    const i4 first_y = zero + top;
    const float grid = (float)GRID;
    for (int i = 0; i < count; i += 4) {
        const f4 fx0 = load_f(b->x0 + i) * grid, fx1 = load_f(b->x1 + i) * grid, fx2 = load_f(b->x2 + i) * grid;
        const f4 fy0 = load_f(b->y0 + i) * grid, fy1 = load_f(b->y1 + i) * grid, fy2 = load_f(b->y2 + i) * grid;
        const i4 low_x = nearest(low(fx0, low(fx1, fx2))), high_x = nearest(high(fx0, high(fx1, fx2)));
        const i4 low_y = nearest(low(fy0, low(fy1, fy2))), high_y = nearest(high(fy0, high(fy1, fy2)));
        i4 left = (low_x + 2047) >> 11, right = high_x >> 11, first = (low_y + 2047) >> 11, last = high_y >> 11;
        i4 columns, rows, keep, small, code, huge;
        left = left & ~(left < zero), right = pick(right > last_x, last_x, right);
        first = pick(first < first_y, first_y, first), last = pick(last > last_y, last_y, last);
        keep = (left <= right) & (first <= last);
        if (!bits_of(keep)) {
            save_i(b->code + i, zero);
            continue;
        }
        huge = (high_x - low_x > INT_EXTENT) | (high_y - low_y > INT_EXTENT);
        code = keep & huge & HUGE_BOX;
        save_i(b->left + i, left), save_i(b->right + i, right), save_i(b->first + i, first), save_i(b->last + i, last);
        if (bits_of(keep & ~huge)) {
            const i4 x0 = nearest(fx0), x1 = nearest(fx1), x2 = nearest(fx2);
            const i4 y0 = nearest(fy0), y1 = nearest(fy1), y2 = nearest(fy2);
            const i4 area = times(x1 - x0, y2 - y0) - times(y1 - y0, x2 - x0), turned = area < zero;
            const i4 across[3] = {((y1 - y2) ^ turned) - turned, ((y2 - y0) ^ turned) - turned,
                                  ((y0 - y1) ^ turned) - turned};
            const i4 down[3] = {((x2 - x1) ^ turned) - turned, ((x0 - x2) ^ turned) - turned,
                                ((x1 - x0) ^ turned) - turned};
            const i4 px = left << 11, py = first << 11;
            const i4 from_x[3] = {px - x1, px - x2, px - x0}, from_y[3] = {py - y1, py - y2, py - y0};
            i4 row[3], covered;
            for (int n = 0; n < 3; n++) {
                const i4 owed = one + ((across[n] > zero) | ((across[n] == zero) & (down[n] > zero)));
                row[n] = times(across[n], from_x[n]) + times(down[n], from_y[n]) - owed;
                save_i(b->owed[n] + i, owed);
            }
            save_i(b->area + i, (area ^ turned) - turned);
            keep &= ~huge & (area != zero);
            columns = right - left + 1, rows = last - first + 1;
            small = keep & (columns <= SIDE) & (rows <= SIDE);
            code |= keep & ~small & LARGE;
            if (bits_of(code == LARGE))
                for (int n = 0; n < 3; n++) {
                    save_i(b->row[n] + i, row[n]);
                    save_i(b->across[n] + i, across[n] << 11), save_i(b->down[n] + i, down[n] << 11);
                }
            if (bits_of(small)) {
                const i4 extent = pick(columns > rows, columns, rows) & small;
                if (!bits_of(extent > 2))
                    covered = cover_top_left(b, i, row, across, down, 2);
                else if (!bits_of(extent > 3))
                    covered = cover_top_left(b, i, row, across, down, 3);
                else
                    covered = cover_top_left(b, i, row, across, down, 4);
                code |= small & covered & pixels_of(columns, rows);
            }
        }
        save_i(b->code + i, code);
    }
}

/* Depths of 4 pixels from x on; those beyond the row hide everything. */
static inline f4 load_depths(const float *row, int x, int width)
{
    if (x + 4 <= width)
        return load_f(row + x);
    {
        f4 depths = {INFINITY, INFINITY, INFINITY, INFINITY};
        for (int j = 0; j < width - x; j++)
            depths[j] = row[x + j];
        return depths;
    }
}

static inline void fill_small_published(const canvas *s, const block *b, int i, const brush *p, const steps *to)
{
    float *depth = s->depth + (size_t)b->first[i] * s->width + b->left[i];
    unsigned char *pixel = p->hued ? pixel_row(s, b->first[i]) + 3 * b->left[i] : NULL;
    for (int bits = b->code[i]; bits; bits &= bits - 1) {
        const int j = __builtin_ctz(bits);
        const float u = b->at.published[j].u[i], v = b->at.published[j].v[i], w = (1 - u) - v;
        const float z = w * p->z0 + v * p->z1 + u * p->z2;
        if (!(z > depth[to->depths[j]]))
            continue;
        if (pixel)
            put_hue(p, depth + to->depths[j], pixel + to->bytes[j], w, v, u, z);
        else
            put(s, b->first[i] + j / SIDE, b->left[i] + j % SIDE, p->t, w, v, u, z);
    }
}

static inline void fill_large_published(const canvas *s, const block *b, int i, const brush *p)
{
    const float x0 = b->x0[i], y0 = b->y0[i], ax = b->ax[i], ay = b->ay[i], bx = b->bx[i], by = b->by[i];
    const float d00 = b->d00[i], d01 = b->d01[i], d11 = b->d11[i], k = b->k[i];
    const int strict = s->rule == STRICT;
    const i4 ahead = {0, 1, 2, 3};
    for (int y = b->first[i]; y <= b->last[i]; y++) {
        const float qy = (float)y - y0, a_row = ay * qy, b_row = by * qy;
        float *depth = s->depth + (size_t)y * s->width;
        unsigned char *pixels = p->hued ? pixel_row(s, y) : NULL;
        for (int x = b->left[i]; x <= b->right[i]; x += 4) {
            const f4 qx = to_f(ahead + x) - x0, d02 = ax * qx + a_row, d12 = bx * qx + b_row;
            const f4 u = (d11 * d02 - d01 * d12) * k, v = (d00 * d12 - d01 * d02) * k, w = (1.0f - u) - v;
            const i4 inside = strict ? (w > 0.0f) & (v > 0.0f) & (u > 0.0f)
                                     : (u >= 0.0f) & (v >= 0.0f) & (u + v < 1.0f);
            int bits = bits_of(inside & (ahead + x <= b->right[i]));
            if (!bits)
                continue;
            {
                const f4 z = w * p->z0 + v * p->z1 + u * p->z2;
                bits &= bits_of(z > load_depths(depth, x, s->width));
                for (; bits; bits &= bits - 1) {
                    const int j = __builtin_ctz(bits);
                    if (pixels)
                        put_hue(p, depth + x + j, pixels + 3 * (x + j), w[j], v[j], u[j], z[j]);
                    else
                        put(s, y, x + j, p->t, w[j], v[j], u[j], z[j]);
                }
            }
        }
    }
}

/* A covered pixel under `top_left`, from its three edge functions. */
static inline void put_edges(const canvas *s, const brush *p, const int *owed, double inverse, int y, int x, float *depth,
                             unsigned char *pixel, int e0, int e1, int e2)
{
    const float w0 = (float)((e0 + owed[0]) * inverse), w1 = (float)((e1 + owed[1]) * inverse);
    const float w2 = (float)((e2 + owed[2]) * inverse), z = w0 * p->z0 + w1 * p->z1 + w2 * p->z2;
    if (!(z > *depth))
        return;
    if (p->hued)
        put_hue(p, depth, pixel, w0, w1, w2, z);
    else
        put(s, y, x, p->t, w0, w1, w2, z);
}

static inline void fill_small_top_left(const canvas *s, const block *b, int i, const brush *p, const steps *to)
{
    const double inverse = 1.0 / b->area[i];
    const int owed[3] = {b->owed[0][i], b->owed[1][i], b->owed[2][i]};
    float *depth = s->depth + (size_t)b->first[i] * s->width + b->left[i];
    unsigned char *pixel = p->hued ? pixel_row(s, b->first[i]) + 3 * b->left[i] : NULL;
    for (int bits = b->code[i]; bits; bits &= bits - 1) {
        const int j = __builtin_ctz(bits);
        put_edges(s, p, owed, inverse, b->first[i] + j / SIDE, b->left[i] + j % SIDE, depth + to->depths[j],
                  pixel + to->bytes[j], b->at.top_left[j].e[0][i], b->at.top_left[j].e[1][i],
                  b->at.top_left[j].e[2][i]);
    }
}

static inline void fill_large_top_left(const canvas *s, const block *b, int i, const brush *p)
{
    const double inverse = 1.0 / b->area[i];
    const int owed[3] = {b->owed[0][i], b->owed[1][i], b->owed[2][i]};
    const i4 ahead = {0, 1, 2, 3}, zero = {0, 0, 0, 0};
    const i4 lanes0 = times(ahead, zero + b->across[0][i]), lanes1 = times(ahead, zero + b->across[1][i]);
    const i4 lanes2 = times(ahead, zero + b->across[2][i]);
    int row0 = b->row[0][i], row1 = b->row[1][i], row2 = b->row[2][i];
    for (int y = b->first[i]; y <= b->last[i]; y++) {
        float *depth = s->depth + (size_t)y * s->width;
        unsigned char *pixels = p->hued ? pixel_row(s, y) : NULL;
        int e0 = row0, e1 = row1, e2 = row2;
        for (int x = b->left[i]; x <= b->right[i]; x += 4) {
            const i4 four0 = lanes0 + e0, four1 = lanes1 + e1, four2 = lanes2 + e2;
            int bits = bits_of(~(four0 | four1 | four2) & ((ahead + x <= b->right[i]) << 31));
            for (; bits; bits &= bits - 1) {
                const int j = __builtin_ctz(bits);
                put_edges(s, p, owed, inverse, y, x + j, depth + x + j, pixels + 3 * (x + j), four0[j], four1[j],
                          four2[j]);
            }
            e0 += 4 * b->across[0][i], e1 += 4 * b->across[1][i], e2 += 4 * b->across[2][i];
        }
        row0 += b->down[0][i], row1 += b->down[1][i], row2 += b->down[2][i];
    }
}

static steps find_steps(const canvas *s)
{
    steps found;
    for (int j = 0; j < SIDE * SIDE; j++) {
        const ptrdiff_t x = j % SIDE, y = j / SIDE;
        found.depths[j] = y * s->width + x;
        found.bytes[j] = 3 * ((s->reverse ? -y : y) * s->width + x);
    }
    return found;
}

static void draw_block(const canvas *s, const steps *to, int start, int count, int top, int bottom)
{
    block b;
    brush p = {0};
    int named[BLOCK], n = 0;
    const int found = gather(s, &b, start, count, top, bottom), top_left = s->rule == TOP_LEFT;
    if (!found)
        return;
    if (found < 0) {
        for (int t = start; t < start + count; t++)
            draw_one(s, t, top, bottom);
        return;
    }
    if (top_left)
        prepare_top_left(s, &b, count, top, bottom);
    else
        prepare_published(s, &b, count, top, bottom);
    for (int i = 0; i < count; i++) {
        named[n] = i;
        n += b.code[i] != 0;
    }
    p.hued = s->image && s->channels == 3 && s->keep == 0;
    p.paint = s->paint;
    for (int m = 0; m < n; m++) {
        const int i = named[m], *corner = s->triangles + 3 * (size_t)(start + i);
        WITHIN(b.left[i] >= 0 && b.right[i] < s->width && b.first[i] >= top && b.last[i] < bottom);
        p.t = start + i;
        p.z0 = s->vertices[3 * (size_t)corner[0] + 2];
        p.z1 = s->vertices[3 * (size_t)corner[1] + 2];
        p.z2 = s->vertices[3 * (size_t)corner[2] + 2];
        if (!((p.z0 - p.z0) + (p.z1 - p.z1) + (p.z2 - p.z2) == 0))
            continue;
        if (p.hued) {
            p.c0 = load_3(s->colors + 3 * (size_t)corner[0]), p.c1 = load_3(s->colors + 3 * (size_t)corner[1]);
            p.c2 = load_3(s->colors + 3 * (size_t)corner[2]);
        }
        if (b.code[i] == HUGE_BOX) {
            const box all = {b.left[i], b.right[i], b.first[i], b.last[i]};
            fill_top_left(s, p.t, &all);
        } else if (top_left && b.code[i] == LARGE) {
            fill_large_top_left(s, &b, i, &p);
        } else if (top_left) {
            fill_small_top_left(s, &b, i, &p, to);
        } else if (b.code[i] == LARGE) {
            fill_large_published(s, &b, i, &p);
        } else {
            fill_small_published(s, &b, i, &p, to);
        }
    }
}

#endif

/* Draw rows top..bottom-1. */
static void draw_rows(const canvas *s, int top, int bottom)
{
#if defined(__GNUC__)
    if (s->width <= 16384 && s->height <= 16384) {
        const steps to = find_steps(s);
        for (int start = 0; start < s->num_triangles; start += BLOCK) {
            const int left = s->num_triangles - start;
            draw_block(s, &to, start, left < BLOCK ? left : BLOCK, top, bottom);
        }
        return;
    }
#endif
    for (int t = 0; t < s->num_triangles; t++)
        draw_one(s, t, top, bottom);
}

/* Add to `cost`, (H + 1) zeros, the differences row by row of the work to expect; every `step`-th triangle counts. */
static void add_cost(const canvas *s, int step, double *cost)
{
    for (long long t = 0; t < s->num_triangles; t += step) {
        box b;
        if (find_box(s, (int)t, 0, s->height, &b)) {
            cost[b.first] += (double)step * (8 + b.right - b.left);
            cost[b.last + 1] -= (double)step * (8 + b.right - b.left);
        }
    }
}
