#include "deploy/bench/kernels/families.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace troupe::deploy::kernel_bench {
namespace {

Target each(Quantity quantity, double wanted) { return {quantity, wanted, false}; }
Target mean(Quantity quantity, double wanted) { return {quantity, wanted, true}; }

std::vector<Family> make_families() {
  using enum Quantity;
  using enum Bound;
  const std::vector<Target> bytes{each(share, 0.88)};
  return {{"FP8 dense", fp8_products, {mean(ratio, 1.1)}},
          {"FP8 few rows", copy, {each(ratio, 2), each(share, 0.6)}},
          {"BF16 forward (NT)", bf16_products},
          {"BF16 inputs (NN)", bf16_products},
          {"BF16 weights (TN)", bf16_products},
          {"FP8 contiguous", fp8_products, {each(ratio, 0.95)}},
          {"FP8 masked", fp8_products, {each(ratio, 0.95)}},
          {"FP8 weights", fp8_products, {each(ratio, 1.2), each(tflops, 900)}},
          {"FP8 weights, fixed point", fp8_products},
          {"attention forward", bf16_products},
          {"attention backward", bf16_products},
          {"decode, 128 heads", bf16_products, {each(tflops, 650)}},
          {"decode, 32 or 64 heads", copy},
          {"decode, 16 heads", copy, {each(terabytes_a_second, 3.9)}},
          {"quantise rows", copy, bytes},
          {"quantise both", copy, bytes},
          {"quantise both, powers of 2", copy, bytes},
          {"quantise blocks", copy, bytes},
          {"RMSNorm", copy, bytes},
          {"SwiGLU and quantise", copy, bytes},
          {"cross entropy", copy, bytes},
          {"AdamW", copy, bytes},
          {"gate", copy, {each(microseconds, 10)}}};
}

bool has(const Family& family, const std::string& part) { return family.name.find(part) != std::string::npos; }

}  // namespace

const char* name_of(Bound bound) {
  switch (bound) {
    case Bound::copy:
      return "copy";
    case Bound::bf16_products:
      return "BF16 GEMM";
    case Bound::fp8_products:
      return "FP8 GEMM";
  }
  return "";
}

const char* name_of(Quantity quantity) {
  switch (quantity) {
    case Quantity::ratio:
      return "ratio";
    case Quantity::share:
      return "share";
    case Quantity::tflops:
      return "tflops";
    case Quantity::terabytes_a_second:
      return "terabytes_a_second";
    case Quantity::microseconds:
      return "us";
  }
  return "";
}

std::string describe(const Target& target) {
  switch (target.quantity) {
    case Quantity::ratio:
      return fmt::format(">= {:.2f} x", target.wanted);
    case Quantity::share:
      return fmt::format(">= {:.0f} %", 100 * target.wanted);
    case Quantity::tflops:
      return fmt::format(">= {:.0f} TFLOPS", target.wanted);
    case Quantity::terabytes_a_second:
      return fmt::format(">= {:.1f} TB/s", target.wanted);
    case Quantity::microseconds:
      return fmt::format("<= {:.0f} us", target.wanted);
  }
  return "";
}

const std::vector<Family>& families() {
  static const std::vector<Family> all = make_families();
  return all;
}

std::vector<Family> families_with(const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (std::any_of(families().begin(), families().end(), [&](const Family& f) { return has(f, part); })) continue;
    std::string names;
    for (const Family& family : families()) names += (names.empty() ? "'" : "', '") + family.name;
    throw std::runtime_error(fmt::format("--only: no family has '{}' in its name, wanted a part of {}'", part, names));
  }
  std::vector<Family> chosen;
  for (const Family& family : families()) {
    const auto is_of_family = [&](const std::string& part) { return has(family, part); };
    if (parts.empty() || std::any_of(parts.begin(), parts.end(), is_of_family)) chosen.push_back(family);
  }
  return chosen;
}

}  // namespace troupe::deploy::kernel_bench
