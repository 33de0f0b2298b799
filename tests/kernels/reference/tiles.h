// Tiles of codes by obvious loops, over the codecs of kernels/ops/quantize.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/ops/quantize.h"
#include "kernels/ops/rounding.h"

namespace troupe::tests::reference {

inline float nearest(kernels::TileFormat format, float x) {
  return format == kernels::TileFormat::e4m3 ? kernels::f8_e4m3_to_f32(kernels::f32_to_f8_e4m3(x))
                                             : kernels::e5m6_to_f32(kernels::f32_to_e5m6(x));
}

struct TilesArgs {
  std::vector<float> x;  // [T, K]
  int64_t T, K;
  kernels::TileFormat format;
  int64_t tile_rows, tile_cols;
  bool power_of_two;
  std::vector<int64_t> offsets;
};

struct TilesResult {
  std::vector<float> codes;   // [T, K]
  std::vector<float> scales;  // row by row of tiles
};

inline float tile_scale(float amax, float largest, bool power_of_two) {
  const float scale = std::fmax(amax, 1e-4f) / largest;
  if (!power_of_two) return scale;
  float power = std::ldexp(1.0f, -149);
  while (power < scale) power *= 2;
  return power;
}

inline TilesResult tiles(const TilesArgs& args) {
  const std::vector<int64_t> ranges =
      args.offsets.empty() ? std::vector<int64_t>{0, args.T} : args.offsets;
  TilesResult out{std::vector<float>(args.x.size()), {}};
  for (size_t g = 0; g + 1 < ranges.size(); ++g) {
    int64_t bottom = 0;
    for (int64_t top = ranges[g]; top < ranges[g + 1]; top = bottom) {
      bottom = top + std::min(args.tile_rows, ranges[g + 1] - top);
      int64_t right = 0;
      for (int64_t left = 0; left < args.K; left = right) {
        right = left + std::min(args.tile_cols, args.K - left);
        float amax = 0.0f;
        for (int64_t t = top; t < bottom; ++t) {
          for (int64_t k = left; k < right; ++k) {
            amax = std::fmax(amax, std::abs(args.x[static_cast<size_t>(t * args.K + k)]));
          }
        }
        const float scale = tile_scale(amax, largest_of(args.format), args.power_of_two);
        out.scales.push_back(scale);
        for (int64_t t = top; t < bottom; ++t) {
          for (int64_t k = left; k < right; ++k) {
            const auto at = static_cast<size_t>(t * args.K + k);
            out.codes[at] = nearest(args.format, args.x[at] / scale);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace troupe::tests::reference
