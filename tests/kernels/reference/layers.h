// Whole layers as the report's equations have them, in f64. Weights are [out, in], rows one after
// the other, as in the layers' headers.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/layers/attention/gqa.h"
#include "kernels/layers/attention/mla.h"
#include "kernels/layers/ffn.h"
#include "kernels/layers/mtp.h"
#include "tests/kernels/reference/attention.h"
#include "tests/kernels/reference/embedding.h"
#include "tests/kernels/reference/norm.h"
#include "tests/kernels/reference/rope.h"
#include "tests/kernels/reference/routing.h"
#include "tests/kernels/reference/swiglu.h"

namespace troupe::tests::reference {

/// y = x weight^T.
inline Doubles linear(const Doubles& x, const Doubles& weight, size_t in) {
  const size_t T = x.size() / in, out = weight.size() / in;
  Doubles y(T * out);
  for (size_t t = 0; t < T; ++t) {
    for (size_t o = 0; o < out; ++o) {
      for (size_t i = 0; i < in; ++i) y[t * out + o] += x[t * in + i] * weight[o * in + i];
    }
  }
  return y;
}

/// Columns [first, first + n) of rows of width `width`.
inline Doubles slice(const Doubles& x, size_t width, size_t first, size_t n) {
  Doubles y;
  for (size_t at = first; at < x.size(); at += width) {
    for (size_t i = 0; i < n; ++i) y.push_back(x[at + i]);
  }
  return y;
}

/// YaRN's m(x) = 0.1 x ln(s) + 1.
inline double yarn_scale(const kernels::Yarn& yarn, double x) {
  return 0.1 * x * std::log(yarn.factor) + 1;
}

/// Rotates the vector of width R at x, which stands at `position`.
inline void rotate_at(const kernels::ModelShape& s, double* x, int64_t position) {
  std::optional<Yarn> yarn;
  double size = 1;
  if (s.yarn) {
    yarn = Yarn{s.yarn->factor, s.yarn->original_positions, s.yarn->beta_fast, s.yarn->beta_slow};
    size = yarn_scale(*s.yarn, s.yarn->mscale) / yarn_scale(*s.yarn, s.yarn->mscale_all_dim);
  }
  const size_t R = static_cast<size_t>(s.rope);
  Doubles angles;
  for (size_t i = 0; i < R / 2; ++i) {
    angles.push_back(static_cast<double>(static_cast<long double>(position) *
                                         rope_frequency(i, R, s.rope_theta, yarn)));
  }
  const Doubles turned = rotate(Doubles(x, x + R), angles);
  for (size_t i = 0; i < R; ++i) x[i] = size * turned[i];
}

/// Attention's output for whole sequences of `shape.S` rows, its scale that of the model.
inline Doubles attend(const kernels::ModelShape& s, AttentionShape shape, const Doubles& q,
                      const Doubles& k, const Doubles& v) {
  shape.scale = 1 / std::sqrt(static_cast<double>(shape.dqk));
  if (s.yarn) shape.scale *= std::pow(yarn_scale(*s.yarn, s.yarn->mscale_all_dim), 2);
  Doubles o;
  const int64_t T = static_cast<int64_t>(q.size()) / (shape.H * shape.dqk);
  for (int64_t t = 0; t < T; t += shape.S) {
    const auto part = [&](const Doubles& all, int64_t width) {
      return Doubles(all.begin() + t * width, all.begin() + (t + shape.S) * width);
    };
    const auto mixed = attention(shape, part(q, shape.H * shape.dqk),
                                 part(k, shape.H_kv * shape.dqk), part(v, shape.H_kv * shape.dv));
    o.insert(o.end(), mixed.o.begin(), mixed.o.end());
  }
  return o;
}

/// Report equations 1 to 11 on sequences of S rows from position 0.
inline Doubles mla(const kernels::ModelShape& s, const kernels::MlaTensors<Doubles>& w,
                   const Doubles& x, int64_t S) {
  const size_t D = static_cast<size_t>(s.hidden), C = static_cast<size_t>(s.kv_lora);
  const size_t R = static_cast<size_t>(s.rope), N = static_cast<size_t>(s.nope);
  const size_t H = static_cast<size_t>(s.heads), V = static_cast<size_t>(s.v_head);
  const size_t T = x.size() / D, rows = static_cast<size_t>(S);
  const Doubles q_input =
      s.q_lora > 0 ? rms_norm(linear(x, w.q_a, D), w.q_a_norm, s.rms_eps) : x;
  Doubles q = linear(q_input, w.q_b, q_input.size() / T);
  const Doubles down = linear(x, w.kv_a, D);
  Doubles key = slice(down, C + R, C, R);
  const Doubles c = rms_norm(slice(down, C + R, 0, C), w.kv_a_norm, s.rms_eps);
  const Doubles up = linear(c, w.kv_b, C);
  Doubles k(T * H * (N + R)), v(T * H * V);
  for (size_t t = 0; t < T; ++t) {
    const int64_t position = static_cast<int64_t>(t % rows);
    rotate_at(s, &key[t * R], position);
    for (size_t h = 0; h < H; ++h) {
      const size_t row = t * H + h;
      rotate_at(s, &q[row * (N + R) + N], position);
      for (size_t i = 0; i < N; ++i) k[row * (N + R) + i] = up[row * (N + V) + i];
      for (size_t i = 0; i < R; ++i) k[row * (N + R) + N + i] = key[t * R + i];
      for (size_t i = 0; i < V; ++i) v[row * V + i] = up[row * (N + V) + N + i];
    }
  }
  const Doubles o = attend(s, {.S = S, .H = s.heads, .H_kv = s.heads, .dqk = s.query_width(),
                               .dv = s.v_head, .scale = 0},
                           q, k, v);
  return linear(o, w.o, H * V);
}

/// Grouped-query attention on sequences of S rows from position 0.
inline Doubles gqa(const kernels::ModelShape& s, const kernels::GqaTensors<Doubles>& w,
                   const Doubles& x, int64_t S) {
  const size_t D = static_cast<size_t>(s.hidden), R = static_cast<size_t>(s.rope);
  const size_t H = static_cast<size_t>(s.heads), G = static_cast<size_t>(s.kv_heads);
  const size_t T = x.size() / D, rows = static_cast<size_t>(S);
  Doubles q = linear(x, w.q, D), k = linear(x, w.k, D);
  const Doubles v = linear(x, w.v, D);
  for (size_t t = 0; t < T; ++t) {
    const int64_t position = static_cast<int64_t>(t % rows);
    for (size_t h = 0; h < H; ++h) rotate_at(s, &q[(t * H + h) * R], position);
    for (size_t g = 0; g < G; ++g) rotate_at(s, &k[(t * G + g) * R], position);
  }
  const Doubles o = attend(s, {.S = S, .H = s.heads, .H_kv = s.kv_heads, .dqk = s.rope,
                               .dv = s.rope, .scale = 0},
                           q, k, v);
  return linear(o, w.o, H * R);
}

/// down(silu(gate x) * up x), width D.
inline Doubles ffn(const kernels::FfnTensors<Doubles>& w, const Doubles& x, size_t D) {
  const Doubles activated = swiglu(linear(x, w.gate, D), linear(x, w.up, D));
  return linear(activated, w.down, w.gate.size() / D);
}

/// The gate's choice and weights for one token.
struct Choice {
  std::vector<int32_t> ids;
  Doubles scores, weights;
};
inline Choice choose(const kernels::ModelShape& s, const Doubles& gate, const Doubles& bias,
                     const Doubles& row) {
  const Routing routing{static_cast<size_t>(s.experts), static_cast<size_t>(s.groups),
                        static_cast<size_t>(s.top_groups), static_cast<size_t>(s.top_k),
                        s.normalize_top_k, s.routed_scale};
  Choice choice;
  for (const double logit : linear(row, gate, row.size())) choice.scores.push_back(sigmoid(logit));
  choice.ids = choose_experts(choice.scores, bias, routing);
  choice.weights = expert_weights(choice.scores, choice.ids, routing);
  return choice;
}

/// Sum over the chosen experts of weight * expert(x), the routed part of equation 12.
inline Doubles routed_experts(const kernels::ModelShape& s, const Doubles& gate,
                              const Doubles& bias,
                              const std::vector<kernels::FfnTensors<Doubles>>& experts,
                              const Doubles& x) {
  const size_t D = static_cast<size_t>(s.hidden);
  Doubles y;
  for (size_t at = 0; at < x.size(); at += D) {
    const Doubles row(x.begin() + static_cast<long>(at), x.begin() + static_cast<long>(at + D));
    const Choice choice = choose(s, gate, bias, row);
    Doubles sum(D);
    for (size_t k = 0; k < choice.ids.size(); ++k) {
      const Doubles out = ffn(experts[static_cast<size_t>(choice.ids[k])], row, D);
      for (size_t i = 0; i < D; ++i) sum[i] += choice.weights[k] * out[i];
    }
    y.insert(y.end(), sum.begin(), sum.end());
  }
  return y;
}

/// Equation 21, the embedding's half first: h has `rows` rows a sequence, of which the last falls
/// away.
inline Doubles mtp_joint(const kernels::MtpTensors<Doubles>& w, const Doubles& h,
                         const std::vector<int32_t>& ids, size_t rows, double eps) {
  const size_t D = w.enorm.size();
  const Doubles e = rms_norm(embed(ids, w.embedding, D), w.enorm, eps);
  const Doubles n = rms_norm(h, w.hnorm, eps);
  Doubles joined;
  for (size_t t = 0; t < ids.size(); ++t) {
    const size_t from = t / (rows - 1) * rows + t % (rows - 1);
    joined.insert(joined.end(), e.begin() + static_cast<long>(t * D),
                  e.begin() + static_cast<long>((t + 1) * D));
    joined.insert(joined.end(), n.begin() + static_cast<long>(from * D),
                  n.begin() + static_cast<long>((from + 1) * D));
  }
  return linear(joined, w.eh_proj, 2 * D);
}

}  // namespace troupe::tests::reference
