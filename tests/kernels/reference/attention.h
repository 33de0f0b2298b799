// Causal attention as the formula has it, in f64.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace troupe::tests::reference {

/// One sequence from position 0: S rows, H query heads over H_kv key heads, each for H / H_kv of them.
struct AttentionShape {
  int64_t S, H, H_kv, dqk, dv;
  double scale;
};

struct AttentionResult {
  std::vector<double> o;         // [S, H * dv]
  std::vector<double> log_sums;  // [S, H]
};

inline AttentionResult attention(const AttentionShape& x, const std::vector<double>& q,
                                 const std::vector<double>& k, const std::vector<double>& v) {
  AttentionResult out{std::vector<double>(x.S * x.H * x.dv), std::vector<double>(x.S * x.H)};
  for (int64_t i = 0; i < x.S; ++i) {
    for (int64_t h = 0; h < x.H; ++h) {
      const int64_t g = h / (x.H / x.H_kv);
      std::vector<double> scores(i + 1, 0.0);
      double greatest = -std::numeric_limits<double>::infinity();
      for (int64_t j = 0; j <= i; ++j) {
        for (int64_t d = 0; d < x.dqk; ++d) {
          scores[j] += q[(i * x.H + h) * x.dqk + d] * k[(j * x.H_kv + g) * x.dqk + d];
        }
        scores[j] *= x.scale;
        greatest = std::max(greatest, scores[j]);
      }
      double sum = 0;
      for (const double s : scores) sum += std::exp(s - greatest);
      for (int64_t j = 0; j <= i; ++j) {
        const double p = std::exp(scores[j] - greatest) / sum;
        for (int64_t d = 0; d < x.dv; ++d) {
          out.o[(i * x.H + h) * x.dv + d] += p * v[(j * x.H_kv + g) * x.dv + d];
        }
      }
      out.log_sums[i * x.H + h] = greatest + std::log(sum);
    }
  }
  return out;
}

struct AttentionGradient {
  std::vector<double> dq, dk, dv;  // as q, k and v
};

/// With p the probabilities: dv_j = sum_i p_ij do_i; ds_ij = p_ij (do_i . v_j - do_i . o_i);
/// dq_i = scale sum_j ds_ij k_j; dk_j = scale sum_i ds_ij q_i.
inline AttentionGradient attention_backward(const AttentionShape& x, const std::vector<double>& q,
                                            const std::vector<double>& k,
                                            const std::vector<double>& v,
                                            const std::vector<double>& d_o) {
  const AttentionResult forward = attention(x, q, k, v);
  AttentionGradient out{std::vector<double>(q.size()), std::vector<double>(k.size()),
                        std::vector<double>(v.size())};
  for (int64_t i = 0; i < x.S; ++i) {
    for (int64_t h = 0; h < x.H; ++h) {
      const int64_t row = i * x.H + h;
      for (int64_t j = 0; j <= i; ++j) {
        const int64_t key = j * x.H_kv + h / (x.H / x.H_kv);
        double score = 0, dp = 0;
        for (int64_t d = 0; d < x.dqk; ++d) score += q[row * x.dqk + d] * k[key * x.dqk + d];
        const double p = std::exp(x.scale * score - forward.log_sums[row]);
        for (int64_t d = 0; d < x.dv; ++d) {
          dp += d_o[row * x.dv + d] * (v[key * x.dv + d] - forward.o[row * x.dv + d]);
          out.dv[key * x.dv + d] += p * d_o[row * x.dv + d];
        }
        for (int64_t d = 0; d < x.dqk; ++d) {
          out.dq[row * x.dqk + d] += x.scale * p * dp * k[key * x.dqk + d];
          out.dk[key * x.dqk + d] += x.scale * p * dp * q[row * x.dqk + d];
        }
      }
    }
  }
  return out;
}

}  // namespace troupe::tests::reference
