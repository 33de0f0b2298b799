#include "kernels/random.h"

#include <cmath>

#include "kernels/math/scalar_math.h"

namespace troupe::kernels {
namespace {

std::array<uint32_t, 4> draw(const RandomKey& key) {
  const std::array<uint32_t, 4> counter{static_cast<uint32_t>(key.position),
                                        static_cast<uint32_t>(key.position >> 32), key.stream,
                                        static_cast<uint32_t>(key.purpose)};
  return philox4x32(counter,
                    {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
}

uint64_t join(uint32_t low, uint32_t high) { return (static_cast<uint64_t>(high) << 32) | low; }

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

uint64_t random_bits(const RandomKey& key) {
  const auto r = draw(key);
  return join(r[0], r[1]);
}

double random_uniform(const RandomKey& key) {
  return static_cast<double>(random_bits(key) >> 11) * 0x1p-53;
}

double random_normal(const RandomKey& key) {
  const auto r = draw(key);
  const double u = static_cast<double>((join(r[0], r[1]) >> 11) + 1) * 0x1p-53;  // (0, 1]
  const double v = static_cast<double>(join(r[2], r[3]) >> 11) * 0x1p-53;
  constexpr double two_pi = 6.283185307179586477;
  return std::sqrt(-2.0 * log_exact(u)) * cos_exact(two_pi * v);
}

uint64_t random_below(const RandomKey& key, uint64_t n) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(random_bits(key)) * n) >> 64);
}

}  // namespace troupe::kernels
