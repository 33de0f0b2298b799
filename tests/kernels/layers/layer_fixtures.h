// What the layer tests share: weights as the layers take them, their gradients as they come out of
// the fixed-point sums, and the comparison with finite differences.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <utility>
#include <vector>

#include "kernels/layers/attention/gqa.h"
#include "kernels/layers/attention/mla.h"
#include "kernels/layers/ffn.h"
#include "kernels/layers/mtp.h"
#include "tests/kernels/arrangements.h"
#include "tests/kernels/fixtures.h"
#include "tests/kernels/reference/finite_differences.h"
#include "tests/small_model.h"

namespace troupe::tests {

/// Name and place of every member, in one order for every T.
template <class T>
std::vector<std::pair<const char*, T*>> members(kernels::MlaTensors<T>& t) {
  return {{"q_a", &t.q_a},   {"q_a_norm", &t.q_a_norm},   {"q_b", &t.q_b},  {"kv_a", &t.kv_a},
          {"kv_a_norm", &t.kv_a_norm}, {"kv_b", &t.kv_b}, {"o", &t.o}};
}
template <class T>
std::vector<std::pair<const char*, T*>> members(kernels::GqaTensors<T>& t) {
  return {{"q", &t.q}, {"k", &t.k}, {"v", &t.v}, {"o", &t.o}};
}
template <class T>
std::vector<std::pair<const char*, T*>> members(kernels::FfnTensors<T>& t) {
  return {{"gate", &t.gate}, {"up", &t.up}, {"down", &t.down}};
}
template <class T>
std::vector<std::pair<const char*, T*>> members(kernels::MtpTensors<T>& t) {
  return {{"embedding", &t.embedding}, {"enorm", &t.enorm}, {"hnorm", &t.hnorm},
          {"eh_proj", &t.eh_proj}};
}

template <template <class> class Tensors, class From, class F>
auto mapped(Tensors<From>& from, F f) {
  Tensors<decltype(f(std::declval<From&>()))> to{};
  auto in = members(from);
  auto out = members(to);
  for (size_t i = 0; i < in.size(); ++i) *out[i].second = f(*in[i].second);
  return to;
}

/// Weights as layers take them.
template <template <class> class Tensors>
Tensors<kernels::ConstTensor> views(Tensors<kernels::Buffer>& weights) {
  return mapped(weights, [](kernels::Buffer& b) { return kernels::ConstTensor(b.view); });
}
/// Weights as references take them; an absent one is empty.
template <template <class> class Tensors>
Tensors<Doubles> doubles(Tensors<kernels::Buffer>& weights) {
  return mapped(weights, [](kernels::Buffer& b) { return b ? to_doubles(b) : Doubles{}; });
}

/// The fixed-point sum of one tensor's gradient, read back as sum * 2^-s.
class Sum {
 public:
  static constexpr int scale_bits = 40;

  Sum() = default;
  explicit Sum(int64_t elements)
      : sum_(kernels::allocate_zeros(kernels::DType::i64, {elements})),
        faults_(std::make_shared<std::atomic<uint32_t>>(0)) {}

  kernels::GradientSum into() const {
    return sum_ ? kernels::GradientSum{sum_, scale_bits, 1, faults_.get(), nullptr}
                : kernels::GradientSum{};
  }
  Doubles values() const {
    Doubles out;
    for (int64_t i = 0; i < sum_.view.count(); ++i) {
      out.push_back(std::ldexp(static_cast<double>(kernels::values<int64_t>(sum_.view)[i]),
                               -scale_bits));
    }
    return out;
  }
  std::vector<int64_t> integers() const { return vector_of<int64_t>(sum_); }

 private:
  kernels::Buffer sum_;
  std::shared_ptr<std::atomic<uint32_t>> faults_;
};

/// A sum for every weight.
template <template <class> class Tensors>
Tensors<Sum> sums_for(Tensors<kernels::Buffer>& weights) {
  return mapped(weights, [](kernels::Buffer& b) { return b ? Sum(b.view.count()) : Sum(); });
}
template <template <class> class Tensors>
Tensors<kernels::GradientSum> gradients(Tensors<Sum>& sums) {
  return mapped(sums, [](Sum& sum) { return sum.into(); });
}

/// Expects each weight's gradient to be the derivative of f, a reference that takes the weights.
template <template <class> class Tensors, class F>
void expect_derivatives(Tensors<Sum>& sums, Tensors<Doubles> weights, F f) {
  auto of = members(weights);
  const auto found = members(sums);
  for (size_t i = 0; i < of.size(); ++i) {
    if (of[i].second->empty()) continue;
    const Doubles at = *of[i].second;
    const Doubles expected = finite_differences(
        [&](const Doubles& w) {
          *of[i].second = w;
          return f(weights);
        },
        at);
    *of[i].second = at;
    EXPECT_LT(relative_difference(found[i].second->values(), expected), 1e-5) << of[i].first;
  }
}

inline kernels::MlaTensors<kernels::Buffer> mla_weights(const kernels::ModelShape& s) {
  kernels::MlaTensors<kernels::Buffer> w;
  const float size = 0.4f;
  if (s.q_lora > 0) {
    w.q_a = normal({s.q_lora, s.hidden}, 101, size);
    w.q_a_norm = normal({s.q_lora}, 102);
  }
  w.q_b = normal({s.heads * s.query_width(), s.q_lora > 0 ? s.q_lora : s.hidden}, 103, size);
  w.kv_a = normal({s.kv_lora + s.rope, s.hidden}, 104, size);
  w.kv_a_norm = normal({s.kv_lora}, 105);
  w.kv_b = normal({s.heads * (s.nope + s.v_head), s.kv_lora}, 106, size);
  w.o = normal({s.hidden, s.heads * s.v_head}, 107, size);
  return w;
}

inline kernels::GqaTensors<kernels::Buffer> gqa_weights(const kernels::ModelShape& s) {
  const int64_t queries = s.heads * s.query_width(), keys = s.kv_heads * s.query_width();
  return {normal({queries, s.hidden}, 111, 0.4f), normal({keys, s.hidden}, 112, 0.4f),
          normal({keys, s.hidden}, 113, 0.4f), normal({s.hidden, queries}, 114, 0.4f)};
}

inline kernels::FfnTensors<kernels::Buffer> ffn_weights(int64_t hidden, int64_t width,
                                                        uint32_t stream) {
  return {normal({width, hidden}, stream, 0.5f), normal({width, hidden}, stream + 1, 0.5f),
          normal({hidden, width}, stream + 2, 0.5f)};
}

}  // namespace troupe::tests
