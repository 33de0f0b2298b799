#include "deploy/bench/kernels/cuda/operands.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cuda/sm90/quantize_sm90.h"
#include "kernels/ops/quantize.h"

namespace troupe::deploy::kernel_bench {
namespace {

constexpr int64_t workspace_bytes = 64 << 20;

float value_of(uint16_t bits) { return kernels::bf16_to_f32(bits); }
float value_of(float value) { return value; }

}  // namespace

RowOperand::RowOperand(int64_t rows, int64_t cols, uint32_t seed)
    : codes(rows * cols), stride(up_to(rows, 4)), scales(up_to(cols, 128) / 128 * stride) {
  const auto x = random_array<uint16_t>(rows * cols, seed);
  kernels::cuda::quantize_sm90({.x = x.data(),
                                .x_stride = cols,
                                .M = rows,
                                .K = cols,
                                .power_of_two = false,
                                .least_amax = least_amax,
                                .rows = codes.data(),
                                .row_scales = scales.data(),
                                .row_scales_stride = stride},
                               nullptr);
  expect_cuda(cudaDeviceSynchronize(), "quantise");
}

BlockOperand::BlockOperand(int64_t groups, int64_t N, int64_t K, uint32_t seed)
    : codes(groups * N * K), stride(up_to(K, 512) / 128), scales(groups * (up_to(N, 128) / 128) * stride) {
  for (int64_t g = 0; g < groups; ++g) {
    const auto w = random_array<uint16_t>(N * K, seed + static_cast<uint32_t>(g));
    kernels::cuda::quantize_blocks_sm90({.w = w.data(),
                                         .w_stride = K,
                                         .groups = 1,
                                         .N = N,
                                         .K = K,
                                         .power_of_two = false,
                                         .least_amax = least_amax,
                                         .codes = codes.data() + g * N * K,
                                         .scales = scales.data() + g * (up_to(N, 128) / 128) * stride,
                                         .scales_stride = stride,
                                         .transposed = nullptr,
                                         .transposed_scales = nullptr,
                                         .transposed_scales_stride = 0},
                                        nullptr);
    expect_cuda(cudaDeviceSynchronize(), "quantise");
  }
}

Call peer_call(const PeerLibrary* peers, std::vector<PeerProduct> products, std::shared_ptr<const void> kept) {
  if (peers == nullptr) return {};
  const DeviceArray<uint8_t> workspace(workspace_bytes);
  std::vector<std::shared_ptr<const PreparedPeer>> prepared;
  for (PeerProduct& product : products) {
    product.workspace = workspace.data();
    product.workspace_bytes = workspace.count();
    prepared.push_back(peers->prepare(product));
    if (prepared.back() == nullptr) return {};
  }
  return on_stream([workspace, prepared, kept = std::move(kept)](cudaStream_t stream) {
    for (const auto& each : prepared) each->run(stream);
  });
}

template <class T>
void expect_same(const DeviceArray<T>& ours, const DeviceArray<T>& peers, const std::string& peer) {
  constexpr int64_t parts = 64, compared = 1 << 14;  // of each part, so that every band of tiles is met
  double both = 0, squares = 0;
  for (int64_t first = 0, step = std::max<int64_t>(compared, ours.count() / parts); first < ours.count(); first += step) {
    const std::vector<T> a = ours.part(first, compared), b = peers.part(first, compared);
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = static_cast<double>(value_of(a[i])), y = static_cast<double>(value_of(b[i]));
      both += x * y;
      squares += x * x + y * y;
    }
  }
  const double difference = 1 - 2 * both / squares;
  if (difference < 1e-5) return;  // false of NaN too
  throw std::runtime_error(fmt::format("the result differs from that of {}: 1 - 2 <x, y> / (<x, x> + <y, y>) is "
                                       "{:.1e}, wanted below 1e-5", peer, difference));
}

template void expect_same(const DeviceArray<uint16_t>&, const DeviceArray<uint16_t>&, const std::string&);
template void expect_same(const DeviceArray<float>&, const DeviceArray<float>&, const std::string&);

}  // namespace troupe::deploy::kernel_bench
