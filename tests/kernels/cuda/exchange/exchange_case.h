// Tokens of two data workers with their experts, what an exchange is to make of them, and ranks that make it:
// on one GPU, or each on its own.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cuda/exchange/exchange.h"
#include "kernels/ops/quantize.h"
#include "kernels/tensor.h"
#include "tests/kernels/cuda/device_array.h"

namespace troupe::tests {

using kernels::cuda::ExchangeShape;

enum class Routing : uint8_t { even, one_group, one_rank };

/// Tokens of a data worker.
struct WorkerTokens {
  int64_t count;
  std::vector<int32_t> ids;     ///< [count, K]
  std::vector<float> weights;   ///< [count, K]
  std::vector<char> payload, scales;
};

/// K experts of at most kept_groups groups, ascending.
inline std::vector<int32_t> choose_experts(const ExchangeShape& x, Routing routing, Numbers& numbers) {
  const int per_group = x.experts / x.groups;
  std::vector<int> groups;
  const int wanted = routing == Routing::one_group ? 1 : x.kept_groups;
  const int among = routing == Routing::even ? x.groups : x.groups / 2;
  while (static_cast<int>(groups.size()) < wanted) {
    const int group = routing == Routing::one_group ? 0 : numbers.integer(0, among - 1);
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  std::vector<int32_t> ids;
  while (static_cast<int>(ids.size()) < x.slots) {
    const int group = groups[static_cast<size_t>(numbers.integer(0, wanted - 1))];
    const int id = group * per_group + numbers.integer(0, per_group - 1);
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

inline WorkerTokens make_tokens(const ExchangeShape& x, int64_t count, Routing routing, uint64_t seed) {
  Numbers numbers(seed);
  WorkerTokens out{count, {}, {}, {}, {}};
  for (int64_t t = 0; t < count; ++t) {
    for (const int32_t id : choose_experts(x, routing, numbers)) {
      out.ids.push_back(id);
      out.weights.push_back(0.5f + numbers.normal() / 8);
    }
  }
  for (int64_t i = 0; i < count * x.row_bytes; ++i) out.payload.push_back(static_cast<char>(numbers.next()));
  for (int64_t i = 0; i < count * x.scale_bytes; ++i) out.scales.push_back(static_cast<char>(numbers.next()));
  return out;
}

/// (token, slot) of each row that experts [first, first + count) get, in order.
inline std::vector<std::pair<int64_t, int>> rows_of_experts(const ExchangeShape& x, const WorkerTokens& tokens,
                                                            int first, int count) {
  std::vector<std::pair<int64_t, int>> rows;
  for (int e = first; e < first + count; ++e) {
    for (int64_t i = 0; i < tokens.count * x.slots; ++i) {
      if (tokens.ids[static_cast<size_t>(i)] == e) rows.push_back({i / x.slots, static_cast<int>(i % x.slots)});
    }
  }
  return rows;
}

/// What an expert answers to a worker's token: any number, but always the same.
inline uint16_t answer_of(int worker, int32_t expert, int64_t token, int64_t column) {
  uint64_t z = (static_cast<uint64_t>(worker) << 60) ^ (static_cast<uint64_t>(expert) << 48) ^
               (static_cast<uint64_t>(token) << 24) ^ static_cast<uint64_t>(column);
  z = (z ^ z >> 31) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9u;
  return kernels::f32_to_bf16(static_cast<float>(static_cast<int32_t>(z >> 32)) * 0x1p-30f);
}

/// Law 2, on the host: groups ascending, each the sum of its experts ascending, rounded once.
inline std::vector<float> combined(const ExchangeShape& x, const WorkerTokens& tokens, int worker) {
  const int per_group = x.experts / x.groups;
  std::vector<float> y;
  for (int64_t t = 0; t < tokens.count; ++t) {
    const int32_t* const ids = tokens.ids.data() + t * x.slots;
    const float* const weights = tokens.weights.data() + t * x.slots;
    for (int64_t c = 0; c < x.columns; ++c) {
      float total = 0, sum = 0;
      bool is_first = true;
      for (int k = 0; k < x.slots; ++k) {
        sum = std::fma(weights[k], kernels::bf16_to_f32(answer_of(worker, ids[k], t, c)), sum);
        if (k + 1 < x.slots && ids[k + 1] / per_group == ids[k] / per_group) continue;
        const float rounded = kernels::bf16_to_f32(kernels::f32_to_bf16(sum));
        total = is_first ? rounded : total + rounded;
        is_first = false;
        sum = 0;
      }
      y.push_back(total);
    }
  }
  return y;
}

/// One rank: its window, what it gets and what its experts answer.
class ExchangeRank {
 public:
  ExchangeRank(const ExchangeShape& shape, int device) : shape_(shape), device_(device) {
    use();
    window_memory_ = std::make_unique<DeviceArray<char>>(kernels::cuda::exchange_window_bytes(shape), char{0});
    window = kernels::cuda::exchange_window(shape, window_memory_->data());
    fault_ = std::make_unique<DeviceArray<uint32_t>>(1, 0u);
    expect_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    const auto rows = static_cast<size_t>(shape.tokens * shape.slots);
    for (int s = 0; s < shape.ranks; ++s) {
      const auto add = [](auto& arrays, size_t count, auto value) {
        arrays.push_back(std::make_unique<DeviceArray<decltype(value)>>(count, value));
      };
      add(payloads_, rows * static_cast<size_t>(shape.row_bytes), char{1});
      add(scales_, rows * static_cast<size_t>(shape.scale_bytes) + 1, char{1});
      add(offsets_, static_cast<size_t>(shape.experts / shape.ranks) + 1, int32_t{-1});
      add(answers_, rows * static_cast<size_t>(shape.columns), uint16_t{0x7fc1});
    }
    y_ = std::make_unique<DeviceArray<float>>(static_cast<size_t>(shape.tokens * shape.columns), 0.0f);
  }
  ~ExchangeRank() {
    use();
    cudaStreamDestroy(stream);
  }
  ExchangeRank(const ExchangeRank&) = delete;
  ExchangeRank& operator=(const ExchangeRank&) = delete;

  void use() const { expect_cuda(cudaSetDevice(device_), "device"); }

  void set_tokens(const WorkerTokens& tokens) {
    use();
    tokens_ = tokens.count;
    const auto put = [](void* to, const auto& from) {
      expect_cuda(cudaMemcpy(to, from.data(), from.size() * sizeof(from[0]), cudaMemcpyHostToDevice), "tokens");
    };
    put(window.tables.ids, tokens.ids);
    put(window.tables.weights, tokens.weights);
    put(window.payload, tokens.payload);
    put(window.scales, tokens.scales);
  }

  void set_answers(int source, int rank, const WorkerTokens& tokens, int worker) {
    use();
    const int per_rank = shape_.experts / shape_.ranks;
    std::vector<uint16_t> rows;
    for (const auto& [token, slot] : rows_of_experts(shape_, tokens, rank * per_rank, per_rank)) {
      const int32_t expert = tokens.ids[static_cast<size_t>(token * shape_.slots + slot)];
      for (int64_t c = 0; c < shape_.columns; ++c) rows.push_back(answer_of(worker, expert, token, c));
    }
    expect_cuda(cudaMemcpy(answers_[static_cast<size_t>(source)]->data(), rows.data(), rows.size() * 2,
                           cudaMemcpyHostToDevice), "answers");
  }

  using Ranks = std::vector<std::unique_ptr<ExchangeRank>>;

  kernels::cuda::ExchangeCall call(int rank, uint32_t generation, const Ranks& ranks) const {
    kernels::cuda::ExchangeCall call{};
    call.shape = shape_;
    call.rank = rank;
    for (size_t r = 0; r < ranks.size(); ++r) call.windows[r] = ranks[r]->window;
    call.tokens = tokens_;
    call.generation = generation;
    // The blocks of all ranks, which may share a GPU, find room on it.
    call.remote_blocks = shape_.ranks > 1 ? 4 * (shape_.ranks - 1) : 0;
    call.local_blocks = 16;
    call.patience_ns = 5'000'000'000;
    call.fault = fault_->data();
    return call;
  }
  void dispatch(const kernels::cuda::ExchangeCall& call) const {
    use();
    kernels::cuda::ExchangeRows rows[kernels::cuda::most_exchange_ranks]{};
    for (size_t s = 0; s < payloads_.size(); ++s) {
      rows[s] = {payloads_[s]->data(), scales_[s]->data(), offsets_[s]->data()};
    }
    kernels::cuda::exchange_dispatch(call, rows, stream);
  }
  void combine(const kernels::cuda::ExchangeCall& call) const {
    use();
    const uint16_t* answers[kernels::cuda::most_exchange_ranks]{};
    for (size_t s = 0; s < answers_.size(); ++s) answers[s] = answers_[s]->data();
    kernels::cuda::exchange_combine(call, answers, y_->data(), stream);
  }

  template <class T>
  std::vector<T> read(const std::vector<std::unique_ptr<DeviceArray<T>>>& arrays, int source) const {
    use();
    return arrays[static_cast<size_t>(source)]->values();
  }
  std::vector<char> payload(int source) const { return read(payloads_, source); }
  std::vector<char> scales(int source) const { return read(scales_, source); }
  std::vector<int32_t> offsets(int source) const { return read(offsets_, source); }
  std::vector<float> y() const {
    use();
    std::vector<float> all = y_->values();
    all.resize(static_cast<size_t>(tokens_ * shape_.columns));
    return all;
  }
  uint32_t* fault_word() const { return fault_->data(); }
  kernels::cuda::ExchangeFault fault() const {
    use();
    return static_cast<kernels::cuda::ExchangeFault>(fault_->values()[0]);
  }

  kernels::cuda::ExchangeWindow window{};
  cudaStream_t stream = nullptr;

 private:
  const ExchangeShape shape_;
  const int device_;
  int64_t tokens_ = 0;
  std::unique_ptr<DeviceArray<char>> window_memory_;
  std::unique_ptr<DeviceArray<uint32_t>> fault_;
  std::vector<std::unique_ptr<DeviceArray<char>>> payloads_, scales_;
  std::vector<std::unique_ptr<DeviceArray<int32_t>>> offsets_;
  std::vector<std::unique_ptr<DeviceArray<uint16_t>>> answers_;
  std::unique_ptr<DeviceArray<float>> y_;
};

}  // namespace troupe::tests
