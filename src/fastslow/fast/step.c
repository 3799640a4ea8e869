/* One token of the kernel of fast weights (kernel.py) for n heads; the state is read once from memory and written once.

   All arrays are dense: q, k, e (n, K), u and out (n, V), state and next (n, K, V), g (n, decays), log decays, of which
   there is one or one for each row. Without erase keys e is NULL, without decay g is NULL. */

#include <math.h>
#include <stddef.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FASTEST __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define FASTEST
#endif

#define LANES 16
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4))); /* the compiler makes of it what there is */

/* `each` vectors of columns of one head, from column 0 of what is given: what is missing, what is read, what is written.
   The sums over the rows stay in registers. */
#define COLUMNS(each)                                                                                                  \
    do {                                                                                                               \
        Lanes there[each], seen[each];                                                                                 \
        for (size_t c = 0; c < each; c++)                                                                              \
            there[c] = seen[c] = (Lanes){0};                                                                           \
        for (size_t i = 0; i < K; i++)                                                                                 \
            for (size_t c = 0; c < each; c++) {                                                                        \
                const Lanes row = *(const Lanes *)(state + i * V + from + c * LANES);                                  \
                there[c] += erased[i] * row;                                                                           \
                seen[c] += looked[i] * row;                                                                            \
            }                                                                                                          \
        for (size_t c = 0; c < each; c++) {                                                                            \
            there[c] = *(const Lanes *)(u + from + c * LANES) - there[c];                                              \
            *(Lanes *)(out + from + c * LANES) = seen[c] + together * there[c];                                        \
        }                                                                                                              \
        for (size_t i = 0; i < K; i++)                                                                                 \
            for (size_t c = 0; c < each; c++) {                                                                        \
                const Lanes row = *(const Lanes *)(state + i * V + from + c * LANES);                                  \
                *(Lanes *)(next + i * V + from + c * LANES) = kept[i] * row + k[i] * there[c];                         \
            }                                                                                                          \
    } while (0)

FASTEST
void step(size_t n, size_t K, size_t V, size_t decays, const float *q, const float *k, const float *e, const float *g,
          const float *u, const float *state, float *restrict out, float *restrict next)
{
    float kept[K], erased[K], looked[K]; /* what decay leaves of each row, and the two keys that see it decayed */
    for (size_t h = 0; h < n; h++) {
        float together = 0.0f; /* q k: how much of what is written now is read at once */
        for (size_t i = 0; i < K; i++) {
            kept[i] = g == NULL ? 1.0f : decays == 1 && i > 0 ? kept[0] : expf(g[i]);
            erased[i] = e == NULL ? 0.0f : kept[i] * e[i];
            looked[i] = kept[i] * q[i];
            together += q[i] * k[i];
        }
        size_t from = 0;
        for (; from + 4 * LANES <= V; from += 4 * LANES)
            COLUMNS(4);
        for (; from + LANES <= V; from += LANES)
            COLUMNS(1);
        for (; from < V; from++) {
            float there = 0.0f, seen = 0.0f;
            for (size_t i = 0; i < K; i++) {
                there += erased[i] * state[i * V + from];
                seen += looked[i] * state[i * V + from];
            }
            there = u[from] - there;
            out[from] = seen + together * there;
            for (size_t i = 0; i < K; i++)
                next[i * V + from] = kept[i] * state[i * V + from] + k[i] * there;
        }
        q += K, k += K, u += V, out += V, state += K * V, next += K * V;
        e = e == NULL ? NULL : e + K;
        g = g == NULL ? NULL : g + decays;
    }
}
