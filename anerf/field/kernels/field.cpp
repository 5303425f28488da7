// The radiance field, fused: positions -> hash grid -> network -> density and features; features and what the
// ray knows (direction, flight) -> network -> colour. Forward, and backward with derivatives by hand.
// The backward pass keeps the encodings of the forward pass and computes the networks anew: cheaper than
// writing 256 activations a sample to memory and reading them back.
#include "encoding.hpp"
#include "perceptron.hpp"

using namespace anerf;

struct Field {
  Grid grid;
  Mlp sigma, color;
  float log_bias, log_cap;  // density = exp(min(output + log_bias, log_cap))
};

// Samples with what belongs to their rays: features[ray_index[sample]][ray_width].
struct Rays {
  const int32_t* ray_index;
  const float* features;
  int64_t ray_width;
};

struct Params {
  const float *table, *sigma, *color;
};

namespace {

constexpr int GEOMETRY = 15;         // outputs of the density network beside the density
constexpr long BLOCK = 128;          // samples whose activations fit the second-level cache
constexpr long MAX_CHUNKS = 32;      // partial sums of the networks' gradients, whatever the number of threads

// The memory of one thread.
struct Workspace {
  Buffer memory;
  float *encoded, *sigma_out, *color_in, *color_out, *d_encoded, *d_sigma_out, *d_color_in, *d_color_out;
  MlpBlock sigma, color;

  static float* take(float*& rest, size_t n) {
    float* taken = rest;
    rest += rounded_up(n, 16);
    return taken;
  }
  static size_t size(const Field& f) {
    const size_t edges = f.sigma.padded_in + f.sigma.padded_out + f.color.padded_in + f.color.padded_out;
    return 2 * BLOCK * edges + MlpBlock::n_floats(f.sigma, BLOCK) + MlpBlock::n_floats(f.color, BLOCK) + 256;
  }
  explicit Workspace(const Field& f) : Workspace(f, make_buffer(size(f))) {}

 private:
  Workspace(const Field& f, Buffer buffer) : Workspace(f, std::move(buffer), buffer.get()) {}
  Workspace(const Field& f, Buffer&& buffer, float* rest)
      : memory(std::move(buffer)),
        encoded(take(rest, BLOCK * f.sigma.padded_in)),
        sigma_out(take(rest, BLOCK * f.sigma.padded_out)),
        color_in(take(rest, BLOCK * f.color.padded_in)),
        color_out(take(rest, BLOCK * f.color.padded_out)),
        d_encoded(take(rest, BLOCK * f.sigma.padded_in)),
        d_sigma_out(take(rest, BLOCK * f.sigma.padded_out)),
        d_color_in(take(rest, BLOCK * f.color.padded_in)),
        d_color_out(take(rest, BLOCK * f.color.padded_out)),
        sigma(f.sigma, BLOCK, take(rest, MlpBlock::n_floats(f.sigma, BLOCK))),
        color(f.color, BLOCK, take(rest, MlpBlock::n_floats(f.color, BLOCK))) {
    std::memset(memory.get(), 0, sizeof(float) * size(f));  // rows beyond a batch's end are computed and dropped
    for (long k = 0; k < BLOCK; k++) {
      for (int i = f.sigma.n_in; i < f.sigma.padded_in; i++) encoded[k * f.sigma.padded_in + i] = 1.0f;
      for (int i = f.color.n_in; i < f.color.padded_in; i++) color_in[k * f.color.padded_in + i] = 1.0f;
    }
  }
};

long length(long start, long n) { return n - start < BLOCK ? n - start : BLOCK; }

// Floats of one level of a block's encodings, from the sample on.
template <class Float>
Float* level_at(const Grid& grid, long n, long sample, int level, Float* encoding) {
  return encoding + (level * n + sample) * grid.n_features;
}

// Calls the encodings of samples [start, start + BLOCK) into the caches while other work goes on: they lie in as
// many places as there are levels, which the processor does not foresee.
template <bool WRITE>
void expect_levels(const Grid& grid, long n, long start, const float* encoding) {
  const long m = length(start, n);
  for (int level = 0; level < grid.n_levels && m > 0; level++) {
    const float* from = level_at(grid, n, start, level, encoding);
    for (long i = 0; i < m * grid.n_features; i += 16) __builtin_prefetch(from + i, WRITE);
  }
}

// [level][n][F] -> [sample][level * F + f], and back.
template <int F>
void gather_levels(const Grid& grid, long n, long start, long m, const float* encoding, float* rows, long ld) {
  for (int level = 0; level < grid.n_levels; level++) {
    const float* from = level_at(grid, n, start, level, encoding);
    for (long k = 0; k < m; k++) std::memcpy(rows + k * ld + level * F, from + k * F, sizeof(float) * F);
  }
}
template <int F>
void spread_levels(const Grid& grid, long n, long start, long m, const float* rows, long ld, float* encoding) {
  for (int level = 0; level < grid.n_levels; level++) {
    float* to = level_at(grid, n, start, level, encoding);
    for (long k = 0; k < m; k++) std::memcpy(to + k * F, rows + k * ld + level * F, sizeof(float) * F);
  }
}

void density_forward(const Field& f, const float* sigma_t, long n, long start, long m, const float* encoding,
                     Workspace& w) {
  with_features(f.grid.n_features, [&](auto features) {
    gather_levels<decltype(features)::value>(f.grid, n, start, m, encoding, w.encoded, f.sigma.padded_in);
  });
  expect_levels<false>(f.grid, n, start + BLOCK, encoding);
  mlp_forward(f.sigma, sigma_t, rounded_up(m, ROWS), w.encoded, w.sigma, w.sigma_out);
}

// What the colour network reads: the density network's other outputs, and what the ray knows.
void fill_color_in(const Field& f, const Rays& rays, long start, long m, Workspace& w) {
  for (long k = 0; k < m; k++) {
    float* row = w.color_in + k * f.color.padded_in;
    std::memcpy(row, w.sigma_out + k * f.sigma.padded_out + 1, sizeof(float) * GEOMETRY);
    std::memcpy(row + GEOMETRY, rays.features + rays.ray_index[start + k] * rays.ray_width,
                sizeof(float) * rays.ray_width);
  }
}

void densities(const Field& f, const Workspace& w, long m, float* sigma) {
  for (long k = 0; k < m; k++) {
    const float v = w.sigma_out[k * f.sigma.padded_out] + f.log_bias;
    sigma[k] = v > f.log_cap ? f.log_cap : v;
  }
  for (long k = 0; k < m; k++) sigma[k] = fast_exp(sigma[k]);
}

void colors(const Field& f, const Workspace& w, long m, float* rgb) {
  for (long k = 0; k < m; k++)
    for (int c = 0; c < 3; c++) rgb[k * 3 + c] = w.color_out[k * f.color.padded_out + c];
  for (long i = 0; i < 3 * m; i++) rgb[i] = sigmoid(rgb[i]);
}

std::vector<Workspace> workspaces(const Field& f, int threads) {
  std::vector<Workspace> all;
  for (int i = 0; i < (threads > 1 ? threads : 1); i++) all.emplace_back(f);
  return all;
}

}  // namespace

// sigma[n] and, unless rgb is null, rgb[n][3] of x[n][3]; leaves the encodings [n_levels][n][F] in `encoding`
// unless that is null.
ANERF_EXPORT int anerf_field(const Field* field, int threads, long n, const float* x, const Rays* rays,
                             const Params* params, float* encoding, float* rgb, float* sigma) try {
  const Field& f = *field;
  const size_t n_encoding = static_cast<size_t>(n) * f.grid.n_levels * f.grid.n_features;
  const Buffer own = make_buffer(encoding ? 0 : n_encoding), columns = make_buffer(3 * n);
  if (encoding)
    prefer_huge_pages(encoding, sizeof(float) * n_encoding, false);
  else
    encoding = own.get();
  encode(f.grid, threads, n, columns_of(threads, n, x, columns.get()), params->table, encoding);
  const Buffer sigma_t = transposed(f.sigma, params->sigma), color_t = transposed(f.color, params->color);
  std::vector<Workspace> memory = workspaces(f, threads);
  parallel_for(threads, (n + BLOCK - 1) / BLOCK, [&](long block, int worker) {
    Workspace& w = memory[worker];
    const long start = block * BLOCK, m = length(start, n);
    density_forward(f, sigma_t.get(), n, start, m, encoding, w);
    densities(f, w, m, sigma + start);
    if (!rgb) return;
    fill_color_in(f, *rays, start, m, w);
    mlp_forward(f.color, color_t.get(), rounded_up(m, ROWS), w.color_in, w.color, w.color_out);
    colors(f, w, m, rgb + start * 3);
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Gradients of one call of anerf_field, which left `encoding` and gave `rgb`, from d_rgb[n][3] and d_sigma[n].
// Adds to d_table (marking lines in `touched`), d_sigma_mlp and d_color_mlp; writes d_x[n][3] and
// d_features[n][ray_width] (each sample's share of its ray's); each may be null.
ANERF_EXPORT int anerf_field_backward(const Field* field, int threads, long n, const float* x, const Rays* rays,
                                      const Params* params, const float* encoding, const float* rgb,
                                      const float* d_rgb, const float* d_sigma, float* d_table, uint8_t* touched,
                                      float* d_sigma_mlp, float* d_color_mlp, float* d_features, float* d_x) try {
  const Field& f = *field;
  const bool through_grid = d_table || d_x;
  const Buffer sigma_t = transposed(f.sigma, params->sigma), color_t = transposed(f.color, params->color);
  const long blocks = (n + BLOCK - 1) / BLOCK, chunks = blocks < MAX_CHUNKS ? blocks : MAX_CHUNKS;
  const size_t n_sigma = f.sigma.n_params(), n_color = f.color.n_params(), n_mlp = rounded_up(n_sigma + n_color, 16);
  const Buffer partial = make_buffer(chunks * n_mlp);
  const Buffer d_encoding = make_buffer(through_grid ? static_cast<size_t>(n) * f.grid.n_levels * f.grid.n_features : 0);
  std::vector<Workspace> memory = workspaces(f, threads);
  parallel_for(threads, chunks, [&](long chunk, int worker) {
    Workspace& w = memory[worker];
    float* sum = partial.get() + chunk * n_mlp;
    std::memset(sum, 0, sizeof(float) * n_mlp);
    for (long block = blocks * chunk / chunks; block < blocks * (chunk + 1) / chunks; block++) {
      const long start = block * BLOCK, m = length(start, n), rows = rounded_up(m, ROWS);
      float sigma[BLOCK];
      density_forward(f, sigma_t.get(), n, start, m, encoding, w);
      densities(f, w, m, sigma);
      fill_color_in(f, *rays, start, m, w);
      mlp_hidden(f.color, color_t.get(), rows, w.color_in, w.color);
      if (through_grid) expect_levels<true>(f.grid, n, start, d_encoding.get());

      for (long k = 0; k < m; k++)
        for (int c = 0; c < 3; c++) {
          const float p = rgb[(start + k) * 3 + c];
          w.d_color_out[k * f.color.padded_out + c] = d_rgb[(start + k) * 3 + c] * p * (1.0f - p);
        }
      mlp_backward(f.color, params->color, rows, m, w.color_in, w.color, w.d_color_out, 3,
                   d_color_mlp ? sum + n_sigma : nullptr, w.d_color_in);

      for (long k = 0; k < m; k++) {
        const float* from = w.d_color_in + k * f.color.padded_in;
        float* row = w.d_sigma_out + k * f.sigma.padded_out;
        const float v = w.sigma_out[k * f.sigma.padded_out] + f.log_bias, upstream = d_sigma[start + k];
        row[0] = v > f.log_cap && upstream < 0.0f ? 0.0f : upstream * sigma[k];  // beyond the cap: never further up
        std::memcpy(row + 1, from, sizeof(float) * GEOMETRY);
        if (d_features)
          std::memcpy(d_features + (start + k) * rays->ray_width, from + GEOMETRY, sizeof(float) * rays->ray_width);
      }
      mlp_backward(f.sigma, params->sigma, rows, m, w.encoded, w.sigma, w.d_sigma_out, 1 + GEOMETRY,
                   d_sigma_mlp ? sum : nullptr, through_grid ? w.d_encoded : nullptr);
      if (through_grid)
        with_features(f.grid.n_features, [&](auto features) {
          spread_levels<decltype(features)::value>(f.grid, n, start, m, w.d_encoded, f.sigma.padded_in,
                                                    d_encoding.get());
        });
    }
  });
  for (long chunk = 0; chunk < chunks; chunk++) {
    const float* sum = partial.get() + chunk * n_mlp;
    for (size_t i = 0; d_sigma_mlp && i < n_sigma; i++) d_sigma_mlp[i] += sum[i];
    for (size_t i = 0; d_color_mlp && i < n_color; i++) d_color_mlp[i] += sum[n_sigma + i];
  }
  if (!through_grid) return 0;
  const Buffer columns = make_buffer(3 * n);
  const Positions positions = columns_of(threads, n, x, columns.get());
  if (d_table) scatter(f.grid, threads, n, positions, d_encoding.get(), d_table, touched);
  if (d_x) position_gradient(f.grid, threads, n, positions, params->table, d_encoding.get(), d_x);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
