// Where along rays the field is evaluated, and the density grid that says so.
#include "sampling.hpp"

#include <vector>

#include "threads.hpp"

using namespace anerf;

namespace {

constexpr long RAYS_AT_ONCE = 64;
constexpr int MAX_COARSE = 256;
constexpr long MAX_STEPS = 65536;  // of a march: directions of almost no length would make it millions
constexpr float OPAQUE = 2e-3f;  // transmittance behind which density gets no share

// Relative number of samples for each of n_coarse even steps from `near`; returns the sum.
float sampling_profile(const Guide& guide, const float* o, const float* d, float near, float step, int n_coarse,
                       float jitter, float floor, float* profile) {
  float value[MAX_COARSE], through[MAX_COARSE], weight[MAX_COARSE + 2];
  guide.densities(o, d, near + step * jitter, step, n_coarse, value);
  for (int k = 0; k < n_coarse; k++) through[k] = fast_exp(value[k] > 0.0f ? -value[k] * step : 0.0f);
  float transmittance = 1.0f;
  weight[0] = weight[n_coarse + 1] = 0.0f;
  for (int k = 0; k < n_coarse; k++) {
    weight[k + 1] = transmittance < OPAQUE ? 0.0f : transmittance * (1.0f - through[k]);
    transmittance *= through[k];
  }
  // Half of a step's weight is its larger neighbour's: the surface may lie just beside the cell.
  const float share = floor / static_cast<float>(n_coarse);
  float total = 0.0f;
  for (int k = 0; k < n_coarse; k++) {
    const float before = weight[k] > weight[k + 2] ? weight[k] : weight[k + 2];
    const float larger = before > weight[k + 1] ? before : weight[k + 1];
    profile[k] = value[k] >= 0.0f ? 0.5f * (weight[k + 1] + larger) + share : 0.0f;
    total += profile[k];
  }
  return total;
}

// What makes a step of a march worth keeping.
struct March {
  float threshold, deepest;  // density; optical depth behind which nothing is seen
  long explore_every;

  // Calls keep(start, end) for each kept step of a ray, front to back.
  template <class Keep>
  void walk(const Guide& guide, const float* o, const float* d, Bounds bounds, float step, float shift, long passed,
            const Keep& keep) const {
    constexpr long BLOCK = 32;  // steps whose densities are read at a time
    float value[BLOCK], depth = 0.0f;
    if (!(step > 0.0f && bounds.far > bounds.near)) return;
    for (long k = 0; k < MAX_STEPS && (explore_every > 0 || depth < deepest); k++) {
      const float start = bounds.near + step * (static_cast<float>(k) - shift), end = start + step;
      if (!(start < bounds.far && end > start)) return;
      if (k % BLOCK == 0) guide.densities(o, d, start + 0.5f * step, step, BLOCK, value);
      const float sigma = value[k % BLOCK];
      if (!(sigma >= 0.0f && end > bounds.near)) continue;
      if (sigma > threshold && depth < deepest) {
        depth += sigma * step;
      } else if (explore_every == 0 || passed++ % explore_every != 0) {
        continue;
      }
      keep(start > bounds.near ? start : bounds.near, end < bounds.far ? end : bounds.far);
    }
  }
};

}  // namespace

// Importance sampling: n_samples touching intervals a ray, each with the same mass of the profile; rays without
// any mass get none. jitter[r] in [0, 1) moves the coarse steps, border_jitter[r][n_samples + 1] the borders.
// Writes counts[r] and, with stride n_samples, t_starts and t_ends.
ANERF_EXPORT int anerf_importance_samples(int threads, long n_rays, const float* rays_o, const float* rays_d,
                                          const Guide* guide, float t_min, float t_max, long n_coarse,
                                          long n_samples, float floor, const float* jitter,
                                          const float* border_jitter, int32_t* counts, float* t_starts,
                                          float* t_ends) {
  for_each(threads, n_rays, RAYS_AT_ONCE, [&](long r) {
    const float *o = rays_o + 3 * r, *d = rays_d + 3 * r;
    const Bounds bounds = ray_bounds(*guide, o, d, t_min, t_max);
    const float step = (bounds.far - bounds.near) / static_cast<float>(n_coarse);
    counts[r] = 0;
    if (!(step > 0.0f)) return;
    float profile[MAX_COARSE];
    const float total = sampling_profile(*guide, o, d, bounds.near, step, static_cast<int>(n_coarse), jitter[r], floor, profile);
    if (!(total > 0.0f)) return;
    counts[r] = static_cast<int32_t>(n_samples);
    const float mass = total / static_cast<float>(n_samples + 1);
    const float* borders = border_jitter + r * (n_samples + 1);
    float before = 0.0f, previous = bounds.near;
    long k = 0;
    for (long i = 0; i <= n_samples; i++) {
      const float wanted = mass * (static_cast<float>(i) + borders[i]);
      while (k < n_coarse - 1 && before + profile[k] < wanted) before += profile[k++];
      float inside = profile[k] > 0.0f ? (wanted - before) / profile[k] : 0.0f;
      inside = inside < 0.0f ? 0.0f : inside > 1.0f ? 1.0f : inside;
      const float t = bounds.near + step * (static_cast<float>(k) + inside);
      if (i > 0) {
        t_starts[r * n_samples + i - 1] = previous;
        t_ends[r * n_samples + i - 1] = t > previous ? t : previous;
      }
      previous = t > previous ? t : previous;
    }
  });
  return 0;
}

// Occupancy march: even steps from where the ray enters, kept where the grid is denser than `threshold`, until the
// grid's own transmittance falls below `opaque`. Of the open steps that this passes over, also behind what is opaque,
// one in `explore_every` is kept too (0: none). Steps begin shift[r] in [0, 1) of a step early, and the first step
// passed over counts as number first[r]. A ray that would keep more than max_samples takes longer steps instead.
// Writes counts[r] and, with stride max_samples, t_starts and t_ends.
ANERF_EXPORT int anerf_march_samples(int threads, long n_rays, const float* rays_o, const float* rays_d,
                                     const Guide* guide, float t_min, float t_max, float step,
                                     float threshold, float opaque, long explore_every, long max_samples,
                                     const float* shift, const int32_t* first, int32_t* counts,
                                     float* t_starts, float* t_ends) {
  const March march{threshold, -__builtin_logf(opaque), explore_every};
  for_each(threads, n_rays, RAYS_AT_ONCE, [&](long r) {
    const float *o = rays_o + 3 * r, *d = rays_d + 3 * r;
    const Bounds bounds = ray_bounds(*guide, o, d, t_min, t_max);
    float length = step;
    long count = 0;
    const auto keep = [&](float start, float end) {
      if (count < max_samples) {
        t_starts[r * max_samples + count] = start;
        t_ends[r * max_samples + count] = end;
      }
      count++;
    };
    march.walk(*guide, o, d, bounds, length, shift[r], first[r], keep);
    if (count > max_samples) {
      length *= static_cast<float>(count) / static_cast<float>(max_samples);
      count = 0;
      march.walk(*guide, o, d, bounds, length, shift[r], first[r], keep);
    }
    counts[r] = static_cast<int32_t>(count < max_samples ? count : max_samples);
  });
  return 0;
}

// Samples of all rays one after the other: ray_index[n], t_starts[n], t_ends[n] and the middles x[n][3].
ANERF_EXPORT int anerf_pack_samples(int threads, long n_rays, long stride, const int32_t* offsets,
                                    const float* rays_o, const float* rays_d, const float* t_starts,
                                    const float* t_ends, int32_t* ray_index, float* packed_starts,
                                    float* packed_ends, float* x) {
  for_each(threads, n_rays, RAYS_AT_ONCE, [&](long r) {
    for (long s = offsets[r]; s < offsets[r + 1]; s++) {
      const float start = t_starts[r * stride + s - offsets[r]], end = t_ends[r * stride + s - offsets[r]];
      ray_index[s] = static_cast<int32_t>(r);
      packed_starts[s] = start;
      packed_ends[s] = end;
      for (int a = 0; a < 3; a++) x[3 * s + a] = rays_o[3 * r + a] + rays_d[3 * r + a] * (0.5f * (start + end));
    }
  });
  return 0;
}

// Moves each cell that holds samples towards their mean density (cut at sigma_max): by 1 - (1 - rate)^count, as
// if they came one after another. Cells below 0 stay. One thread: the cells of a batch lie anywhere.
ANERF_EXPORT int anerf_update_density(const DensityGrid* grid, long n, const float* x, const float* sigma,
                                      float sigma_max, float rate) try {
  struct Seat {
    int32_t cell;
    float count, total;
  };
  size_t size = 16;
  while (size < static_cast<size_t>(n) * 2) size *= 2;
  std::vector<Seat> seats(size, Seat{-1, 0.0f, 0.0f});  // open addressing by cell
  for (long i = 0; i < n; i++) {
    const int32_t cell = grid->cell(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
    size_t at = (static_cast<uint64_t>(cell) * 0x9E3779B97F4A7C15ull) >> 32 & (size - 1);
    while (seats[at].cell != cell && seats[at].cell >= 0) at = (at + 1) & (size - 1);
    seats[at].cell = cell;
    seats[at].count += 1.0f;
    seats[at].total += sigma[i] < sigma_max ? sigma[i] : sigma_max;
  }
  for (const Seat& seat : seats) {
    if (seat.cell < 0) continue;
    float& value = grid->values[seat.cell];
    if (!(value >= 0.0f)) continue;
    float stay = 1.0f, base = 1.0f - rate;  // (1 - rate)^count by squaring
    for (long power = static_cast<long>(seat.count); power; power >>= 1, base *= base)
      if (power & 1) stay *= base;
    value += (1.0f - stay) * (seat.total / seat.count - value);
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
