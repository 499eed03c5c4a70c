/* The published rasterizers, written anew from their rules (docs/rendering.md), for benchmarks/sim3dr.py.
 *
 * One triangle after the other, one pixel of its box after the other: weights, test, depth, colours. The compiler may
 * take what does not depend on the pixel out of the loops.
 */

#include <math.h>

typedef struct {
    float x, y;
} point;

static void weigh(point p, point p0, point p1, point p2, float weights[3])
{
    const point a = {p2.x - p0.x, p2.y - p0.y}, b = {p1.x - p0.x, p1.y - p0.y}, q = {p.x - p0.x, p.y - p0.y};
    const float d00 = a.x * a.x + a.y * a.y, d01 = a.x * b.x + a.y * b.y, d11 = b.x * b.x + b.y * b.y;
    const float d02 = a.x * q.x + a.y * q.y, d12 = b.x * q.x + b.y * q.y;
    const float determinant = d00 * d11 - d01 * d01, k = determinant == 0 ? 0 : 1 / determinant;
    const float u = (d11 * d02 - d01 * d12) * k, v = (d00 * d12 - d01 * d02) * k;
    weights[0] = 1 - u - v, weights[1] = v, weights[2] = u;
}

static float low(float a, float b, float c)
{
    const float less = a < b ? a : b;
    return less < c ? less : c;
}

static float high(float a, float b, float c)
{
    const float more = a > b ? a : b;
    return more > c ? more : c;
}

/* Rule `strict` or `inclusive`; opacity 1. */
void draw(unsigned char *image, const float *vertices, const int *triangles, const float *colors, float *depth,
          int num_triangles, int height, int width, int channels, int strict)
{
    for (int t = 0; t < num_triangles; t++) {
        const int i0 = triangles[3 * t], i1 = triangles[3 * t + 1], i2 = triangles[3 * t + 2];
        const float *v0 = vertices + 3 * i0, *v1 = vertices + 3 * i1, *v2 = vertices + 3 * i2;
        const point p0 = {v0[0], v0[1]}, p1 = {v1[0], v1[1]}, p2 = {v2[0], v2[1]};
        const float low_x = low(p0.x, p1.x, p2.x), high_x = high(p0.x, p1.x, p2.x);
        const float low_y = low(p0.y, p1.y, p2.y), high_y = high(p0.y, p1.y, p2.y);
        int left = (int)(strict ? ceilf(low_x) : floorf(low_x)), right = (int)(strict ? floorf(high_x) : ceilf(high_x));
        int first = (int)(strict ? ceilf(low_y) : floorf(low_y)), last = (int)(strict ? floorf(high_y) : ceilf(high_y));
        left = left < 0 ? 0 : left, right = right > width - 1 ? width - 1 : right;
        first = first < 0 ? 0 : first, last = last > height - 1 ? height - 1 : last;
        for (int y = first; y <= last; y++)
            for (int x = left; x <= right; x++) {
                const point p = {(float)x, (float)y};
                float w[3], z;
                weigh(p, p0, p1, p2, w);
                if (strict ? !(w[0] > 0 && w[1] > 0 && w[2] > 0) : !(w[2] >= 0 && w[1] >= 0 && w[2] + w[1] < 1))
                    continue;
                z = w[0] * v0[2] + w[1] * v1[2] + w[2] * v2[2];
                if (z > depth[y * width + x]) {
                    for (int c = 0; c < channels; c++) {
                        const float colour = w[0] * colors[channels * i0 + c] + w[1] * colors[channels * i1 + c]
                            + w[2] * colors[channels * i2 + c];
                        image[(y * width + x) * channels + c] = (unsigned char)(255 * colour);
                    }
                    depth[y * width + x] = z;
                }
            }
    }
}
