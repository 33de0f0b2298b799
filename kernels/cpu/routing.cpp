#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/routing.h"
#include "kernels/profile.h"

#include <string>
#include <vector>

#define TROUPE_ISA_FILE "kernels/cpu/routing.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

constexpr int32_t lowest_key = std::numeric_limits<int32_t>::min();

/// Integers that order as the floats do, NaN below all. They tell zeros apart, so scores are not
/// -0 (a sigmoid plus a bias is not).
int32_t rank_key(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int32_t key = bits ^ ((bits >> 31) & 0x7fffffff);
  return x == x ? key : lowest_key;
}

/// The float of a key; NaN of the lowest.
float value_of(int32_t key) {
  const int32_t bits = key ^ ((key >> 31) & 0x7fffffff);
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// The best `wanted` of the candidates offered in ascending order of id; a tie stays with the
/// lower.
class BestOf {
 public:
  explicit BestOf(int64_t wanted)
      : keys_(static_cast<size_t>(wanted)), ids_(static_cast<size_t>(wanted)) {}

  void clear() { count_ = 0; }

  void offer(int32_t key, int32_t id) {
    if (count_ == ids_.size()) {
      if (key <= keys_[count_ - 1]) return;
      --count_;
    }
    size_t place = count_++;
    for (; place > 0 && keys_[place - 1] < key; --place) {
      keys_[place] = keys_[place - 1];
      ids_[place] = ids_[place - 1];
    }
    keys_[place] = key;
    ids_[place] = id;
  }

  /// Writes the ids in ascending order.
  void take_ascending(int32_t* out) {
    std::copy(ids_.begin(), ids_.end(), out);
    std::sort(out, out + ids_.size());
  }

  /// Sets kept[id] for each of the ids.
  void mark(std::vector<uint8_t>& kept) const {
    std::fill(kept.begin(), kept.end(), uint8_t{0});
    for (int32_t id : ids_) kept[static_cast<size_t>(id)] = 1;
  }

 private:
  std::vector<int32_t> keys_;
  std::vector<int32_t> ids_;
  size_t count_ = 0;
};

/// Chooses experts, token after token, with memory of its own.
class Chooser {
 public:
  explicit Chooser(const RouteTokensArgs& args)
      : args_(args),
        group_size_(args.logits.cols() / args.n_groups),
        keys_(static_cast<size_t>(args.logits.cols())),
        kept_(static_cast<size_t>(args.n_groups)),
        groups_(args.top_groups),
        experts_(args.expert_ids.cols()) {}

  void choose(const float* scores, int32_t* ids) {
    const float* bias = values<float>(args_.bias);
    for (size_t e = 0; e < keys_.size(); ++e) keys_[e] = rank_key(scores[e] + bias[e]);
    groups_.clear();
    for (int32_t g = 0; g < args_.n_groups; ++g) groups_.offer(group_key(g), g);
    groups_.mark(kept_);
    experts_.clear();
    for (int32_t g = 0; g < args_.n_groups; ++g) {
      if (!kept_[static_cast<size_t>(g)]) continue;
      for (int64_t e = g * group_size_; e < (g + 1) * group_size_; ++e) {
        experts_.offer(keys_[static_cast<size_t>(e)], static_cast<int32_t>(e));
      }
    }
    experts_.take_ascending(ids);
  }

 private:
  /// Of the sum of the two best biased scores.
  int32_t group_key(int64_t g) const {
    const int32_t* keys = keys_.data() + g * group_size_;
    int32_t best = keys[0], second = lowest_key;
    for (int64_t i = 1; i < group_size_; ++i) {
      second = std::max(second, std::min(best, keys[i]));
      best = std::max(best, keys[i]);
    }
    return group_size_ == 1 ? best : rank_key(value_of(best) + value_of(second));
  }

  const RouteTokensArgs& args_;
  int64_t group_size_;
  std::vector<int32_t> keys_;  // of the biased scores
  std::vector<uint8_t> kept_;
  BestOf groups_;
  BestOf experts_;
};

/// Weights of the chosen experts, from the unbiased scores.
void weigh(const RouteTokensArgs& args, const float* scores, const int32_t* ids, float* weights) {
  const int64_t K = args.expert_ids.cols();
  float sum = 0.0f;
  for (int64_t k = 0; k < K; ++k) sum += scores[ids[k]];
  for (int64_t k = 0; k < K; ++k) {
    const float weight = scores[ids[k]];
    weights[k] = (args.normalize ? weight / (sum + 1e-20f) : weight) * args.scale;
  }
}

void check_route(const RouteTokensArgs& args) {
  const int64_t T = args.logits.rows(), E = args.logits.cols(), K = args.expert_ids.cols();
  expect_shape("route_tokens logits", args.logits, DType::f32, {T, E});
  expect_shape("route_tokens bias", args.bias, DType::f32, {E});
  expect_shape("route_tokens scores", args.scores, DType::f32, {T, E});
  expect_shape("route_tokens expert_ids", args.expert_ids, DType::i32, {T, K});
  expect_shape("route_tokens weights", args.weights, DType::f32, {T, K});
  if (E < 1 || args.n_groups < 1 || E % args.n_groups != 0) {
    throw KernelError("route_tokens n_groups " + std::to_string(args.n_groups) +
                      " does not divide E " + std::to_string(E));
  }
  if (args.top_groups < 1 || args.top_groups > args.n_groups) {
    throw KernelError("route_tokens top_groups " + std::to_string(args.top_groups) +
                      ", wanted 1 to n_groups " + std::to_string(args.n_groups));
  }
  const int64_t choice = E / args.n_groups * args.top_groups;
  if (K < 1 || K > choice) {
    throw KernelError("route_tokens K " + std::to_string(K) + ", wanted 1 to the " +
                      std::to_string(choice) + " experts of " + std::to_string(args.top_groups) +
                      " groups");
  }
}

void check_ids(const char* what, const int32_t* ids, int64_t K, int64_t E) {
  for (int64_t k = 0; k < K; ++k) {
    if (ids[k] >= 0 && ids[k] < E) continue;
    throw KernelError(std::string(what) + " expert id " + std::to_string(ids[k]) +
                      ", wanted 0 to " + std::to_string(E - 1));
  }
}

template <class T>
T* row_of(const Tensor& t, int64_t r) {
  return values<T>(t) + r * t.row_stride;
}
template <class T>
const T* row_of(const ConstTensor& t, int64_t r) {
  return values<T>(t) + r * t.row_stride;
}

}  // namespace

void route_tokens(Queue& queue, const RouteTokensArgs& args) {
  const OperatorLabel label("route_tokens");
  check_route(args);
  const int64_t T = args.logits.rows(), E = args.logits.cols();
  if (queue.is_cuda()) return cuda::route_tokens(queue, args);
  const int64_t parts = part_count(queue, T, 16 * E);
  queue.run(parts, [args, T, E, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    Chooser chooser(args);
    for (int64_t t = begin; t < end; ++t) {
      float* scores = row_of<float>(args.scores, t);
      TROUPE_ISA_CALL(sigmoid_row)(row_of<float>(args.logits, t), scores, E);
      int32_t* ids = row_of<int32_t>(args.expert_ids, t);
      chooser.choose(scores, ids);
      weigh(args, scores, ids, row_of<float>(args.weights, t));
    }
  });
}

void route_tokens_backward(Queue& queue, const RouteTokensBackwardArgs& args) {
  const OperatorLabel label("route_tokens_backward");
  const int64_t T = args.scores.rows(), E = args.scores.cols(), K = args.expert_ids.cols();
  expect_shape("route_tokens_backward dweights", args.dweights, DType::f32, {T, K});
  expect_shape("route_tokens_backward scores", args.scores, DType::f32, {T, E});
  expect_shape("route_tokens_backward expert_ids", args.expert_ids, DType::i32, {T, K});
  if (args.dscores.data) {
    expect_shape("route_tokens_backward dscores", args.dscores, DType::f32, {T, E});
  }
  expect_shape("route_tokens_backward dlogits", args.dlogits, DType::f32, {T, E});
  if (queue.is_cuda()) return cuda::route_tokens_backward(queue, args);
  const int64_t parts = part_count(queue, T, E + 4 * K);
  queue.run(parts, [args, T, E, K, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    std::vector<float> dscores(static_cast<size_t>(E));
    for (int64_t t = begin; t < end; ++t) {
      check_ids("route_tokens_backward", row_of<int32_t>(args.expert_ids, t), K, E);
      TROUPE_ISA_CALL(backward_row)(args, t, dscores.data());
    }
  });
}

void balance_loss(Queue& queue, const BalanceLossArgs& args) {
  const OperatorLabel label("balance_loss");
  const int64_t T = args.scores.rows(), E = args.scores.cols(), K = args.expert_ids.cols();
  const int64_t S = args.sequence_rows;
  if (S < 1 || T % S != 0) {
    throw KernelError("balance_loss sequence_rows " + std::to_string(S) + " does not divide T " +
                      std::to_string(T));
  }
  if (K < 1 || K > E) {
    throw KernelError("balance_loss K " + std::to_string(K) + ", wanted 1 to E " +
                      std::to_string(E));
  }
  expect_shape("balance_loss scores", args.scores, DType::f32, {T, E});
  expect_shape("balance_loss expert_ids", args.expert_ids, DType::i32, {T, K});
  expect_shape("balance_loss losses", args.losses, DType::f32, {T / S});
  expect_shape("balance_loss dscores", args.dscores, DType::f32, {T, E});
  if (queue.is_cuda()) return cuda::balance_loss(queue, args);
  queue.run(T / S, [args, E, K, S](int64_t sequence) {
    std::vector<int32_t> chosen(static_cast<size_t>(K));
    std::vector<int64_t> counts(static_cast<size_t>(E));
    BestOf best(K);
    for (int64_t t = sequence * S; t < (sequence + 1) * S; ++t) {
      const int32_t* ids = row_of<int32_t>(args.expert_ids, t);
      if (args.unbiased_choice) {
        const float* scores = row_of<float>(args.scores, t);
        best.clear();
        for (int32_t e = 0; e < E; ++e) best.offer(rank_key(scores[e]), e);
        best.take_ascending(chosen.data());
        ids = chosen.data();
      }
      check_ids("balance_loss", ids, K, E);
      for (int64_t k = 0; k < K; ++k) ++counts[static_cast<size_t>(ids[k])];
    }
    std::vector<float> f(static_cast<size_t>(E)), p(static_cast<size_t>(E));
    const float unit = static_cast<float>(E) / static_cast<float>(K * S);
    for (size_t e = 0; e < f.size(); ++e) f[e] = unit * static_cast<float>(counts[e]);
    TROUPE_ISA_CALL(balance_sequence)(args, sequence, f.data(), p.data());
  });
}

void count_experts(Queue& queue, const CountExpertsArgs& args) {
  const OperatorLabel label("count_experts");
  const int64_t T = args.expert_ids.rows(), K = args.expert_ids.cols(), E = args.loads.cols();
  expect_shape("count_experts expert_ids", args.expert_ids, DType::i32, {T, K});
  expect_shape("count_experts loads", args.loads, DType::i64, {E});
  if (queue.is_cuda()) return cuda::count_experts(queue, args);
  queue.run(1, [args, T, K, E](int64_t) {
    int64_t* loads = values<int64_t>(args.loads);
    std::fill(loads, loads + E, int64_t{0});
    for (int64_t t = 0; t < T; ++t) {
      const int32_t* ids = row_of<int32_t>(args.expert_ids, t);
      check_ids("count_experts", ids, K, E);
      for (int64_t k = 0; k < K; ++k) ++loads[ids[k]];
    }
  });
}

}  // namespace troupe::kernels

#else

inline void sigmoid_row(const float* logits, float* scores, int64_t E) {
  for_lanes(
      E, [&](int64_t i, int n) { store_lanes(scores + i, sigmoid(load_lanes(logits + i, n)), n); });
}

/// With D = sum_j s_j + 1e-20 and w_k = scale s_k / D:
/// ds_k = scale / D * (dw_k - (sum_j dw_j s_j) / D), sums over the chosen in id order;
/// dlogit = (ds + dscores) * (s * (1 - s)).
inline void backward_row(const RouteTokensBackwardArgs& args, int64_t t, float* dscores) {
  const int64_t E = args.scores.cols(), K = args.expert_ids.cols();
  const float* scores = values<float>(args.scores) + t * args.scores.row_stride;
  const float* dweights = values<float>(args.dweights) + t * args.dweights.row_stride;
  const int32_t* ids = values<int32_t>(args.expert_ids) + t * args.expert_ids.row_stride;
  float* dlogits = values<float>(args.dlogits) + t * args.dlogits.row_stride;
  if (args.dscores.data) {
    std::memcpy(dscores, values<float>(args.dscores) + t * args.dscores.row_stride,
                static_cast<size_t>(E) * sizeof(float));
  } else {
    std::memset(dscores, 0, static_cast<size_t>(E) * sizeof(float));
  }
  float factor = args.scale, mean = 0.0f;
  if (args.normalize) {
    float sum = 0.0f, weighted = 0.0f;
    for (int64_t k = 0; k < K; ++k) {
      sum += scores[ids[k]];
      weighted = std::fma(dweights[k], scores[ids[k]], weighted);
    }
    factor = args.scale / (sum + 1e-20f);
    mean = weighted / (sum + 1e-20f);
  }
  for (int64_t k = 0; k < K; ++k) {
    dscores[ids[k]] = std::fma(factor, dweights[k] - mean, dscores[ids[k]]);
  }
  for_lanes(E, [&](int64_t i, int n) {
    const F16 s = load_lanes(scores + i, n);
    store_lanes(dlogits + i, load_lanes(dscores + i, n) * (s * (set1(1.0f) - s)), n);
  });
}

/// With r_t = sum_j s_tj (+ 1e-20): the loss is scale / S * sum_i f_i sum_t s_ti / r_t, and
/// ds_tj = scale / (S r_t) * (f_j - (sum_i f_i s_ti) / r_t). `p` is scratch of E elements.
inline void balance_sequence(const BalanceLossArgs& args, int64_t sequence, const float* f,
                             float* p) {
  const int64_t E = args.scores.cols(), S = args.sequence_rows;
  const float per_row = args.scale / static_cast<float>(S);
  std::memset(p, 0, static_cast<size_t>(E) * sizeof(float));
  for (int64_t t = sequence * S; t < (sequence + 1) * S; ++t) {
    const float* scores = values<float>(args.scores) + t * args.scores.row_stride;
    float* dscores = values<float>(args.dscores) + t * args.dscores.row_stride;
    F16 lanes = zero();
    for_lanes(E, [&](int64_t i, int n) { lanes = lanes + load_lanes(scores + i, n); });
    const float inverse = 1.0f / (sum_lanes(lanes) + 1e-20f);
    const F16 mean = set1(dot(f, scores, E) * inverse), factor = set1(per_row * inverse);
    for_lanes(E, [&](int64_t i, int n) {
      const F16 s = load_lanes(scores + i, n);
      store_lanes(p + i, fma(s, set1(inverse), load_lanes(p + i, n)), n);
      store_lanes(dscores + i, factor * (load_lanes(f + i, n) - mean), n);
    });
  }
  values<float>(args.losses)[sequence] = per_row * dot(f, p, E);
}

#endif
