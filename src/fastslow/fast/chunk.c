/* The kernel of fast weights (kernel.py) on whole chunks, with its gradients, for n heads of N chunks of C tokens and one
   log decay a token. A head's state and whatever a chunk needs stay in the cache.

   All arrays are dense: q, k, e (n, N, C, K), u and out (n, N, C, V), g (n, N, C), and for the gradients states (n, N + 1,
   K, V), the first given, missing (n, N, C, V) and pairs (n, N, 2, C, C). K, V and C are multiples of LANES; scratch has
   2 C + 2 C C + C K + C max(K, V) + 2 K V. Without erase keys e is NULL. The equations are those of kernel._Chunks. */

#include <math.h>
#include <stddef.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FASTEST __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define FASTEST
#endif
#define INLINE static inline __attribute__((always_inline))

#define LANES 16
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4))); /* the compiler makes of it what there is */

/* `rows` rows and `each` vectors of columns of a product, whose sums stay in registers. */
#define TILE(rows, each)                                                                                               \
    do {                                                                                                               \
        Lanes sum[rows][each];                                                                                         \
        for (size_t r = 0; r < rows; r++)                                                                              \
            for (size_t w = 0; w < each; w++)                                                                          \
                sum[r][w] = (Lanes){0};                                                                                \
        for (size_t l = 0; l < depth; l++) {                                                                           \
            Lanes right[each];                                                                                         \
            for (size_t w = 0; w < each; w++)                                                                          \
                right[w] = *(const Lanes *)(b + l * n + j + w * LANES);                                                \
            for (size_t r = 0; r < rows; r++)                                                                          \
                for (size_t w = 0; w < each; w++)                                                                      \
                    sum[r][w] += a[(i + r) * row + l * column] * right[w];                                             \
        }                                                                                                              \
        for (size_t r = 0; r < rows; r++)                                                                              \
            for (size_t w = 0; w < each; w++) {                                                                        \
                Lanes *to = (Lanes *)(c + (i + r) * n + j + w * LANES);                                                \
                *to = plus ? *to + sum[r][w] : sum[r][w];                                                              \
            }                                                                                                          \
    } while (0)

/* c (m, n) = a b, or c + a b: a (m, depth) with any strides, b (depth, n) dense; m a multiple of 4, n of LANES. */
INLINE void product(size_t m, size_t n, size_t depth, const float *a, size_t row, size_t column, const float *b,
                    float *restrict c, int plus)
{
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        for (size_t i = 0; i < m; i += 4)
            TILE(4, 4);
    for (; j + 2 * LANES <= n; j += 2 * LANES)
        for (size_t i = 0; i < m; i += 4)
            TILE(4, 2);
    for (; j < n; j += LANES)
        for (size_t i = 0; i < m; i += 4)
            TILE(4, 1);
}

/* to (columns, rows) = from (rows, columns) turned. */
INLINE void turned(size_t rows, size_t columns, const float *restrict from, float *restrict to)
{
    for (size_t j = 0; j < columns; j += LANES)
        for (size_t i = 0; i < rows; i++)
            for (size_t l = 0; l < LANES; l++)
                to[(j + l) * rows + i] = from[i * columns + j + l];
}

/* What is left of the chunk's first state at each token, of each token's write at the end, and of each write at each
   later token, (C, C) with zeros above the diagonal. Products of decays instead of sums of their logs: nothing is lost
   where one forgets all. */
INLINE void decays(size_t C, const float *g, float *into, float *tail, float *between)
{
    float left = 1.0f;
    for (size_t i = 0; i < C; i++) {
        const float kept = expf(g[i]);
        into[i] = left *= kept;
        for (size_t j = 0; j < C; j++)
            between[i * C + j] = j < i ? between[(i - 1) * C + j] * kept : j == i ? 1.0f : 0.0f;
    }
    for (size_t i = 0; i < C; i++)
        tail[i] = between[(C - 1) * C + i];
}

/* x (rows, columns), each row times its own number. */
INLINE void scaled(size_t rows, size_t columns, const float *by, float sign, const float *x, float *to)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j += LANES)
            *(Lanes *)(to + i * columns + j) = sign * by[i] * *(const Lanes *)(x + i * columns + j);
}

/* The sum of the products of two arrays, whose length is a multiple of LANES. */
INLINE float dot(size_t length, const float *a, const float *b)
{
    Lanes sums = {0};
    float sum = 0.0f;
    for (size_t i = 0; i < length; i += LANES)
        sums += *(const Lanes *)(a + i) * *(const Lanes *)(b + i);
    for (size_t l = 0; l < LANES; l++)
        sum += sums[l];
    return sum;
}

FASTEST
void forward(size_t n, size_t N, size_t C, size_t K, size_t V, const float *q, const float *k, const float *e,
             const float *g, const float *u, float *restrict out, float *restrict states, float *restrict missing,
             float *restrict pairs, float *restrict scratch)
{
    float *into = scratch, *tail = into + C, *between = tail + C, *keys = between + C * C, *turn = keys + C * K;
    for (size_t h = 0; h < n; h++) {
        for (size_t t = 0; t < N; t++) {
            float *inner = pairs, *erased = pairs + C * C, *next = states + K * V;
            decays(C, g, into, tail, between);
            turned(C, K, k, turn);
            product(C, C, K, q, K, 1, turn, inner, 0);
            for (size_t i = 0; i < C * C; i++)
                inner[i] *= between[i];
            scaled(C, K, into, 1.0f, q, keys);
            product(C, V, K, keys, K, 1, states, out, 0);
            memcpy(missing, u, sizeof(float) * C * V);
            if (e != NULL) {
                product(C, C, K, e, K, 1, turn, erased, 0);
                for (size_t i = 0; i < C * C; i++)
                    erased[i] *= -between[i];
                scaled(C, K, into, -1.0f, e, keys);
                product(C, V, K, keys, K, 1, states, missing, 1);
                for (size_t i = 1; i < C; i++) /* what each token finds of what is missing before it */
                    for (size_t j = 0; j < V; j += LANES) {
                        Lanes sum = *(Lanes *)(missing + i * V + j);
                        for (size_t l = 0; l < i; l++)
                            sum += erased[i * C + l] * *(Lanes *)(missing + l * V + j);
                        *(Lanes *)(missing + i * V + j) = sum;
                    }
            }
            product(C, V, C, inner, C, 1, missing, out, 1);
            scaled(C, K, tail, 1.0f, k, keys);
            for (size_t i = 0; i < K * V; i++)
                next[i] = into[C - 1] * states[i];
            product(K, V, C, keys, 1, K, missing, next, 1);
            q += C * K, k += C * K, u += C * V, g += C, out += C * V, missing += C * V, pairs += 2 * C * C, states = next;
            e = e == NULL ? NULL : e + C * K;
        }
        states += K * V; /* over the last one of this head */
    }
}

/* Of what comes out, of_out, and of the last state, of_state (n, K, V), which becomes that of the first. */
FASTEST
void backward(size_t n, size_t N, size_t C, size_t K, size_t V, const float *q, const float *k, const float *e,
              const float *g, const float *states, const float *missing, const float *pairs, const float *of_out,
              float *restrict of_state, float *restrict of_q, float *restrict of_k, float *restrict of_e,
              float *restrict of_g, float *restrict of_u, float *restrict scratch)
{
    float *into = scratch, *tail = into + C, *between = tail + C, *keys = between + C * C, *turn = keys + C * K;
    float *square = turn + C * V, *state = square + C * C, *behind = state + V * K;
    for (size_t h = 0; h < n; h++, of_state += K * V)
        for (size_t t = N; t-- > 0;) {
            const size_t at = h * N + t;
            const float *inner = pairs + 2 * at * C * C, *erased = inner + C * C, *lost = missing + at * C * V;
            const float *before = states + (at + h) * K * V, *after = before + K * V, *of = of_out + at * C * V;
            const float *qs = q + at * C * K, *ks = k + at * C * K, *es = e == NULL ? NULL : e + at * C * K;
            float *dq = of_q + at * C * K, *dk = of_k + at * C * K, *du = of_u + at * C * V;
            float *de = e == NULL ? NULL : of_e + at * C * K;
            decays(C, g + at * C, into, tail, between);
            scaled(C, K, tail, 1.0f, ks, keys);
            product(C, V, K, keys, K, 1, of_state, du, 0);
            product(C, V, C, inner, 1, C, of, du, 1);
            if (e != NULL) /* from the last token, whose erasing nothing sees, to the first */
                for (size_t i = C - 1; i-- > 0;)
                    for (size_t j = 0; j < V; j += LANES) {
                        Lanes sum = *(Lanes *)(du + i * V + j);
                        for (size_t l = i + 1; l < C; l++)
                            sum += erased[l * C + i] * *(Lanes *)(du + l * V + j);
                        *(Lanes *)(du + i * V + j) = sum;
                    }
            turned(K, V, before, state);
            turned(K, V, of_state, behind);
            turned(C, V, lost, turn);
            product(C, C, V, of, V, 1, turn, square, 0);
            for (size_t i = 0; i < C * C; i++)
                square[i] *= between[i];
            product(C, K, V, of, V, 1, state, dq, 0);
            scaled(C, K, into, 1.0f, dq, dq);
            product(C, K, C, square, C, 1, ks, dq, 1);
            product(C, K, V, lost, V, 1, behind, dk, 0);
            scaled(C, K, tail, 1.0f, dk, dk);
            product(C, K, C, square, 1, C, qs, dk, 1);
            if (e != NULL) {
                product(C, C, V, du, V, 1, turn, square, 0);
                for (size_t i = 0; i < C; i++)
                    for (size_t j = 0; j < C; j++)
                        square[i * C + j] *= j < i ? -between[i * C + j] : 0.0f;
                product(C, K, V, du, V, 1, state, de, 0);
                scaled(C, K, into, -1.0f, de, de);
                product(C, K, C, square, C, 1, ks, de, 1);
                product(C, K, C, square, 1, C, es, dk, 1);
            }
            /* Keys that look meet exp G, keys that were written exp -G, and all that is left at the end exp G_C. */
            float of_total = dot(K * V, of_state, after);
            for (size_t i = C; i-- > 0; of_g[at * C + i] = of_total) {
                of_total += dot(K, qs + i * K, dq + i * K) - dot(K, ks + i * K, dk + i * K);
                of_total += e == NULL ? 0.0f : dot(K, es + i * K, de + i * K);
            }
            for (size_t i = 0; i < K * V; i++)
                of_state[i] *= into[C - 1];
            scaled(C, K, into, 1.0f, qs, keys);
            product(K, V, C, keys, 1, K, of, of_state, 1);
            if (e != NULL) {
                scaled(C, K, into, -1.0f, es, keys);
                product(K, V, C, keys, 1, K, du, of_state, 1);
            }
        }
}
