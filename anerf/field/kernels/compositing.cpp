// Samples along rays blended front to back over a background (Max 1995; Mildenhall et al. 2020, eq. 3), for
// rays with any number of samples: ray r owns samples offsets[r] .. offsets[r + 1].
#include "common.hpp"
#include "threads.hpp"

using namespace anerf;

namespace {
constexpr long RAYS_AT_ONCE = 256;
constexpr float SMALLEST_OPACITY = 1e-6f;  // the depth of a ray that hits nothing is 0 / this = 0
}  // namespace

// Of samples: sigma[n], rgb[n][3], t_starts[n], t_ends[n]. Of rays: background[r][3] in; rgb_out[r][3], depth[r]
// (mean distance of what is opaque), opacity[r] out. weights[n]: each sample's share of its ray.
ANERF_EXPORT int anerf_composite(int threads, long n_rays, const int32_t* offsets, const float* sigma,
                                 const float* rgb, const float* t_starts, const float* t_ends,
                                 const float* background, float* rgb_out, float* depth, float* opacity,
                                 float* weights) {
  for_each(threads, n_rays, RAYS_AT_ONCE, [&](long r) {
    for (long s = offsets[r]; s < offsets[r + 1]; s++) weights[s] = sigma[s] * (t_ends[s] - t_starts[s]);
    for (long s = offsets[r]; s < offsets[r + 1]; s++) weights[s] = fast_exp(-weights[s]);
    float transmittance = 1.0f, total = 0.0f, reach = 0.0f, color[3] = {};
    for (long s = offsets[r]; s < offsets[r + 1]; s++) {
      const float w = transmittance * (1.0f - weights[s]);
      transmittance *= weights[s];
      weights[s] = w;
      total += w;
      reach += w * 0.5f * (t_starts[s] + t_ends[s]);
      for (int c = 0; c < 3; c++) color[c] += w * rgb[s * 3 + c];
    }
    for (int c = 0; c < 3; c++) rgb_out[r * 3 + c] = color[c] + (1.0f - total) * background[r * 3 + c];
    depth[r] = reach / (total > SMALLEST_OPACITY ? total : SMALLEST_OPACITY);
    opacity[r] = total;
  });
  return 0;
}

// Gradients of one call of anerf_composite, whose depth, opacity and weights are given back. `d_weights` may be
// null. Each weight's gradient g gives d sigma_i = delta_i (T_{i+1} g_i - sum_{j > i} w_j g_j).
ANERF_EXPORT int anerf_composite_backward(int threads, long n_rays, const int32_t* offsets, const float* rgb,
                                          const float* t_starts, const float* t_ends, const float* background,
                                          const float* depth, const float* opacity, const float* weights,
                                          const float* d_rgb_out, const float* d_depth, const float* d_opacity,
                                          const float* d_weights, float* d_sigma, float* d_rgb, float* d_background) {
  for_each(threads, n_rays, RAYS_AT_ONCE, [&](long r) {
    const float* d_color = d_rgb_out + r * 3;
    const bool seen = opacity[r] > SMALLEST_OPACITY;
    const float d_reach = d_depth[r] / (seen ? opacity[r] : SMALLEST_OPACITY);
    float d_total = d_opacity[r] - (seen ? d_reach * depth[r] : 0.0f);
    for (int c = 0; c < 3; c++) {
      d_total -= d_color[c] * background[r * 3 + c];
      d_background[r * 3 + c] = d_color[c] * (1.0f - opacity[r]);
    }
    float transmittance = 1.0f;  // behind each sample, from front to back: T_{i+1} = T_i - w_i
    for (long s = offsets[r]; s < offsets[r + 1]; s++) {
      transmittance -= weights[s];
      float g = d_total + d_reach * 0.5f * (t_starts[s] + t_ends[s]) + (d_weights ? d_weights[s] : 0.0f);
      for (int c = 0; c < 3; c++) {
        g += d_color[c] * rgb[s * 3 + c];
        d_rgb[s * 3 + c] = d_color[c] * weights[s];
      }
      d_sigma[s] = transmittance * g;
    }
    float behind = 0.0f;  // sum of w_j g_j over samples behind
    for (long s = offsets[r + 1] - 1; s >= offsets[r]; s--) {
      float g = d_total + d_reach * 0.5f * (t_starts[s] + t_ends[s]) + (d_weights ? d_weights[s] : 0.0f);
      for (int c = 0; c < 3; c++) g += d_color[c] * rgb[s * 3 + c];
      d_sigma[s] = (t_ends[s] - t_starts[s]) * (d_sigma[s] - behind);
      behind += weights[s] * g;
    }
  });
  return 0;
}
