// Samples shared out among experts by where they lie, and the experts' answers put together again.
#include <vector>

#include "common.hpp"
#include "threads.hpp"

using namespace anerf;

// Experts with their centroids and the cubes in which their fields live (learning frame). An expert answers for a
// point if its centroid is at most `margin` times as far as the nearest one; weights are inverse distances.
struct Router {
  int32_t n_experts, dims, only, unused;  // only: the one expert that answers, -1 for all
  float margin, least_weight;
  const float* centroids;  // [n_experts][3]
  const float* cubes;      // [n_experts][4]: low corner, 1 / side
};

namespace {

constexpr long TILE = 2048;
constexpr float SMALLEST = 1.17549435e-38f;  // a point on a centroid is that expert's, with a finite weight

// Calls body(expert, weight) for each expert that answers for x with at least router.least_weight.
template <class Body>
void for_each_answer(const Router& router, const float* x, float* squared, const Body& body) {
  float least = __builtin_inff();
  int nearest = 0;
  for (int e = 0; e < router.n_experts; e++) {
    const float* c = router.centroids + 3 * e;
    squared[e] = 0.0f;
    for (int a = 0; a < 3 && a < router.dims; a++) squared[e] += (x[a] - c[a]) * (x[a] - c[a]);
    if (squared[e] < least) {
      least = squared[e];
      nearest = e;
    }
  }
  const auto answers = [&](int e) {
    return router.margin == 1.0f ? e == nearest : squared[e] <= least * router.margin * router.margin;
  };
  int others = 0;
  for (int e = 0; e < router.n_experts; e++) others += e != nearest && answers(e);
  if (others == 0) {  // most points: deep in one region
    if (router.only < 0 || nearest == router.only) body(nearest, 1.0f);
    return;
  }
  const auto inverse = [&](int e) {
    return 1.0f / __builtin_sqrtf(squared[e] > SMALLEST ? squared[e] : SMALLEST);
  };
  float total = 0.0f;
  for (int e = 0; e < router.n_experts; e++) total += answers(e) ? inverse(e) : 0.0f;
  for (int e = 0; e < router.n_experts; e++) {
    if (!answers(e) || (router.only >= 0 && e != router.only)) continue;
    const float weight = inverse(e) / total;
    if (weight > router.least_weight) body(e, weight);
  }
}

template <class Body>
void for_each_tile(int threads, long n, const Body& body) {
  parallel_for(threads, (n + TILE - 1) / TILE, [&](long tile, int) {
    body(tile, tile * TILE, (tile + 1) * TILE < n ? (tile + 1) * TILE : n);
  });
}

}  // namespace

// How many of x[n][3] each expert answers for: counts[n_experts][tiles of 2048 samples].
ANERF_EXPORT int anerf_route_count(int threads, long n, const float* x, const Router* router, int32_t* counts) try {
  const long tiles = (n + TILE - 1) / TILE;
  const Buffer squared = make_buffer(tiles * router->n_experts);
  for_each_tile(threads, n, [&](long tile, long start, long end) {
    for (int e = 0; e < router->n_experts; e++) counts[e * tiles + tile] = 0;
    for (long s = start; s < end; s++)
      for_each_answer(*router, x + 3 * s, squared.get() + tile * router->n_experts,
                      [&](int e, float) { counts[e * tiles + tile]++; });
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// The same answers written down, expert after expert, from the places starts[n_experts][tiles] on: which sample,
// its ray, its weight, and its position in the expert's unit cube, clamped to it.
ANERF_EXPORT int anerf_route(int threads, long n, const float* x, const int32_t* ray_index, const Router* router,
                             const int32_t* starts, int32_t* sample, int32_t* ray, float* weight, float* unit) try {
  const long tiles = (n + TILE - 1) / TILE;
  const Buffer squared = make_buffer(tiles * router->n_experts);
  std::vector<long> places(tiles * router->n_experts);  // not in a thread, which has nobody to catch what it throws
  for_each_tile(threads, n, [&](long tile, long start, long end) {
    long* next = places.data() + tile * router->n_experts;
    for (int e = 0; e < router->n_experts; e++) next[e] = starts[e * tiles + tile];
    for (long s = start; s < end; s++)
      for_each_answer(*router, x + 3 * s, squared.get() + tile * router->n_experts, [&](int e, float w) {
        const long at = next[e]++;
        sample[at] = static_cast<int32_t>(s);
        ray[at] = ray_index[s];
        weight[at] = w;
        for (int a = 0; a < 3; a++) {
          const float inside = (x[3 * s + a] - router->cubes[4 * e + a]) * router->cubes[4 * e + 3];
          unit[3 * at + a] = inside < 0.0f ? 0.0f : inside > 1.0f ? 1.0f : inside;
        }
      });
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Adds one expert's answers: sigma += weight * sigma_e, rgb += weight * sigma_e * rgb_e, for its m samples, which
// are all different.
ANERF_EXPORT int anerf_blend(int threads, long m, const int32_t* sample, const float* weight, const float* rgb_e,
                             const float* sigma_e, float* rgb, float* sigma) {
  for_each_tile(threads, m, [&](long, long start, long end) {
    for (long i = start; i < end; i++) {
      const float share = weight[i] * sigma_e[i];
      const long s = sample[i];
      sigma[s] += share;
      for (int c = 0; c < 3; c++) rgb[3 * s + c] += share * rgb_e[3 * i + c];
    }
  });
  return 0;
}

// given[n_rays][n_experts] += how much one expert gave to each ray.
ANERF_EXPORT int anerf_give(long m, long expert, long n_experts, const int32_t* sample, const int32_t* ray,
                            const float* weight, const float* sample_weights, float* given) {
  for (long i = 0; i < m; i++) given[ray[i] * n_experts + expert] += weight[i] * sample_weights[sample[i]];
  return 0;
}
