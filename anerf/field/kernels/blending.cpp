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

constexpr long TILE = 2048, BLOCK = 64;
constexpr float SMALLEST = 1.17549435e-38f;  // a point on a centroid is that expert's, with a finite weight

// The answers for up to BLOCK points, point after point.
struct Answers {
  long count = 0;
  std::vector<int32_t> point, expert;
  std::vector<float> weight, squared;  // distances: [n_experts][BLOCK]

  explicit Answers(int n_experts)
      : point(BLOCK * n_experts), expert(BLOCK * n_experts), weight(BLOCK * n_experts), squared(BLOCK * n_experts) {}
  void add(long k, int e, float w) {
    point[count] = static_cast<int32_t>(k);
    expert[count] = e;
    weight[count++] = w;
  }
};

// Who answers for x[m][3], m <= BLOCK, with at least router.least_weight. Not inlined: those who count and those
// who write must run the very same instructions.
__attribute__((noinline)) void find_answers(const Router& router, const float* x, long m, Answers& found) {
  float least[BLOCK];
  int32_t nearest[BLOCK], others[BLOCK];
  const float use_z = router.dims == 3 ? 1.0f : 0.0f, reach = router.margin * router.margin;
  for (long k = 0; k < m; k++) least[k] = __builtin_inff(), nearest[k] = 0, others[k] = 0;
  for (int e = 0; e < router.n_experts; e++) {
    const float* c = router.centroids + 3 * e;
    float* squared = found.squared.data() + e * BLOCK;
    for (long k = 0; k < m; k++) {
      const float dx = x[3 * k] - c[0], dy = x[3 * k + 1] - c[1], dz = (x[3 * k + 2] - c[2]) * use_z;
      squared[k] = dx * dx + dy * dy + dz * dz;
      nearest[k] = squared[k] < least[k] ? e : nearest[k];
      least[k] = squared[k] < least[k] ? squared[k] : least[k];
    }
  }
  for (int e = 0; e < router.n_experts && router.margin > 1.0f; e++) {
    const float* squared = found.squared.data() + e * BLOCK;
    for (long k = 0; k < m; k++) others[k] += e != nearest[k] && squared[k] <= least[k] * reach;
  }
  found.count = 0;
  for (long k = 0; k < m; k++) {
    if (others[k] == 0) {  // most points: deep in one region
      if (router.only < 0 || nearest[k] == router.only) found.add(k, nearest[k], 1.0f);
      continue;
    }
    const auto inverse = [&](int e) {  // 0 for those that do not answer
      const float squared = found.squared[e * BLOCK + k];
      if (e != nearest[k] && !(squared <= least[k] * reach)) return 0.0f;
      return 1.0f / __builtin_sqrtf(squared > SMALLEST ? squared : SMALLEST);
    };
    float total = 0.0f;
    for (int e = 0; e < router.n_experts; e++) total += inverse(e);
    for (int e = 0; e < router.n_experts; e++) {
      const float weight = inverse(e) / total;
      if (weight > router.least_weight && (router.only < 0 || e == router.only)) found.add(k, e, weight);
    }
  }
}

template <class Body>
void for_each_tile(int threads, long n, const Body& body) {
  parallel_for(threads, (n + TILE - 1) / TILE, [&](long tile, int worker) {
    body(tile, worker, tile * TILE, (tile + 1) * TILE < n ? (tile + 1) * TILE : n);
  });
}

std::vector<Answers> answers_of(const Router& router, int threads) {
  return std::vector<Answers>(threads > 1 ? threads : 1, Answers(router.n_experts));
}

}  // namespace

// How many of x[n][3] each expert answers for: counts[n_experts][tiles of 2048 samples].
ANERF_EXPORT int anerf_route_count(int threads, long n, const float* x, const Router* router, int32_t* counts) try {
  const long tiles = (n + TILE - 1) / TILE;
  std::vector<Answers> memory = answers_of(*router, threads);
  for_each_tile(threads, n, [&](long tile, int worker, long start, long end) {
    Answers& found = memory[worker];
    for (int e = 0; e < router->n_experts; e++) counts[e * tiles + tile] = 0;
    for (long s = start; s < end; s += BLOCK) {
      find_answers(*router, x + 3 * s, end - s < BLOCK ? end - s : BLOCK, found);
      for (long i = 0; i < found.count; i++) counts[found.expert[i] * tiles + tile]++;
    }
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
  std::vector<Answers> memory = answers_of(*router, threads);
  std::vector<long> places(tiles * router->n_experts);  // not in a thread, which has nobody to catch what it throws
  for_each_tile(threads, n, [&](long tile, int worker, long start, long end) {
    Answers& found = memory[worker];
    long* next = places.data() + tile * router->n_experts;
    for (int e = 0; e < router->n_experts; e++) next[e] = starts[e * tiles + tile];
    for (long block = start; block < end; block += BLOCK) {
      find_answers(*router, x + 3 * block, end - block < BLOCK ? end - block : BLOCK, found);
      for (long i = 0; i < found.count; i++) {
        const int e = found.expert[i];
        const long s = block + found.point[i], at = next[e]++;
        sample[at] = static_cast<int32_t>(s);
        ray[at] = ray_index[s];
        weight[at] = found.weight[i];
        for (int a = 0; a < 3; a++) {
          const float inside = (x[3 * s + a] - router->cubes[4 * e + a]) * router->cubes[4 * e + 3];
          unit[3 * at + a] = inside < 0.0f ? 0.0f : inside > 1.0f ? 1.0f : inside;
        }
      }
    }
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Adds one expert's answers: sigma += weight * sigma_e, rgb += weight * sigma_e * rgb_e, for its m samples, which
// are all different.
ANERF_EXPORT int anerf_blend(int threads, long m, const int32_t* sample, const float* weight, const float* rgb_e,
                             const float* sigma_e, float* rgb, float* sigma) {
  for_each_tile(threads, m, [&](long, int, long start, long end) {
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
