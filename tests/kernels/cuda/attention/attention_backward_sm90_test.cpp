#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/tensor.h"
#include "tests/kernels/cuda/attention/attention_sm90_case.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

class AttentionBackwardSm90 : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

struct Gradients {
  std::vector<uint16_t> dq, dk, dk_rope, dv;  ///< [total, heads, width]
  bool operator==(const Gradients&) const = default;
};

/// Forward and backward, with a workspace for `heads_together`.
Gradients run_backward(const AttentionCase& x, bool with_offsets = true,
                       int64_t heads_together = 100) {
  const int64_t H = x.heads, total = static_cast<int64_t>(x.q.size()) / (H * query_width);
  const AttentionOut forward = run_attention(x, with_offsets);
  const DeviceArray<uint16_t> q(x.q), k(x.k), k_rope(x.k_rope), v(x.v), o(forward.o), d_o(x.d_o);
  const DeviceArray<float> log_sums(forward.log_sums);
  const DeviceArray<int32_t> offsets(offsets_of(x.queries));
  const auto out = [&](int64_t width) {
    return std::vector<uint16_t>(static_cast<size_t>(total * H * width), bf16_nan);
  };
  DeviceArray<uint16_t> dq(out(query_width)), dk(out(nope_width)), dk_rope(out(rope_width)),
      dv(out(value_width));
  const auto sequences = static_cast<int64_t>(x.queries.size());
  const kernels::cuda::PackedRows rows{with_offsets ? offsets.data() : nullptr,
                                       *std::max_element(x.queries.begin(), x.queries.end()),
                                       total};
  const int64_t bytes =
      kernels::cuda::attention_backward_sm90_workspace_bytes(H, sequences, rows, heads_together);
  DeviceArray<uint16_t> workspace(static_cast<size_t>(bytes / 2), bf16_nan);
  kernels::cuda::attention_backward_sm90({.heads = H,
                                          .sequences = sequences,
                                          .rows = rows,
                                          .scale = x.scale,
                                          .q = {q.data(), H * query_width, query_width},
                                          .k = {k.data(), H * nope_width, nope_width},
                                          .k_rope = {k_rope.data(), H * rope_width, rope_width},
                                          .v = {v.data(), H * value_width, value_width},
                                          .o = {o.data(), H * value_width, value_width},
                                          .do_ = {d_o.data(), H * value_width, value_width},
                                          .log_sums = log_sums.data(),
                                          .dq = {dq.data(), H * query_width, query_width},
                                          .dk = {dk.data(), H * nope_width, nope_width},
                                          .dk_rope = {dk_rope.data(), H * rope_width, rope_width},
                                          .dv = {dv.data(), H * value_width, value_width},
                                          .workspace = workspace.data(),
                                          .workspace_bytes = bytes},
                                         nullptr);
  return {dq.values(), dk.values(), dk_rope.values(), dv.values()};
}

Gradients rows_of(const Gradients& all, int64_t heads, int64_t first, int64_t rows) {
  return {rows_from(all.dq, heads * query_width, first, rows),
          rows_from(all.dk, heads * nope_width, first, rows),
          rows_from(all.dk_rope, heads * rope_width, first, rows),
          rows_from(all.dv, heads * value_width, first, rows)};
}

/// dq and dk [rows, 192], dv [rows, 128] in double precision.
struct WantedGradients {
  std::vector<double> dq, dk, dv;
};

WantedGradients backward_of(const HeadReference& r, double scale) {
  const auto zeros = [&](int64_t width) {
    return std::vector<double>(static_cast<size_t>(r.queries * width), 0.0);
  };
  WantedGradients out{zeros(query_width), zeros(query_width), zeros(value_width)};
  for (int64_t i = 0; i < r.queries; ++i) {
    const double* d_o = r.d_o.data() + i * value_width;
    const double delta =
        std::inner_product(d_o, d_o + value_width, r.o.begin() + i * value_width, 0.0);
    for (int64_t j = 0; j <= i; ++j) {
      const double p = r.p[static_cast<size_t>(i * r.keys + j)];
      const double dp =
          std::inner_product(d_o, d_o + value_width, r.v.begin() + j * value_width, 0.0);
      const double ds = p * (dp - delta) * scale;
      for (int64_t c = 0; c < query_width; ++c) {
        out.dq[static_cast<size_t>(i * query_width + c)] += ds * r.k[j * query_width + c];
        out.dk[static_cast<size_t>(j * query_width + c)] += ds * r.q[i * query_width + c];
      }
      for (int64_t c = 0; c < value_width; ++c) {
        out.dv[static_cast<size_t>(j * value_width + c)] += p * d_o[c];
      }
    }
  }
  return out;
}

TEST_F(AttentionBackwardSm90, FollowsTheFormulaForDocumentsOfAnyLength) {
  const std::vector<int64_t> lengths{2, 63, 300, 128, 64, 129, 7, 127, 65, 450};
  const AttentionCase x = make_attention(2, lengths, lengths, 11);

  const Gradients found = run_backward(x);

  int64_t first = 0;
  for (size_t s = 0; s < lengths.size(); ++s) {
    const int64_t rows = lengths[s];
    for (int64_t head = 0; head < x.heads; ++head) {
      SCOPED_TRACE("sequence " + std::to_string(s) + ", head " + std::to_string(head));
      const WantedGradients wanted = backward_of(reference_of(x, s, head), x.scale);
      const auto columns = [&](int64_t begin, int64_t width) {
        std::vector<double> out;
        for (int64_t r = 0; r < rows; ++r) {
          const auto at = wanted.dk.begin() + r * query_width + begin;
          out.insert(out.end(), at, at + width);
        }
        return out;
      };
      const auto head_of = [&](const std::vector<uint16_t>& all, int64_t width) {
        return head_rows(all, x.heads, width, head, first, rows);
      };
      EXPECT_LT(difference(head_of(found.dq, query_width), wanted.dq).relative, 1e-2);
      EXPECT_LT(difference(head_of(found.dk, nope_width), columns(0, nope_width)).relative, 1e-2);
      EXPECT_LT(
          difference(head_of(found.dk_rope, rope_width), columns(nope_width, rope_width)).relative,
          1e-2);
      EXPECT_LT(difference(head_of(found.dv, value_width), wanted.dv).relative, 1e-2);
    }
    first += rows;
  }
}

TEST_F(AttentionBackwardSm90, GivesASequenceItsBitsWhateverElseIsInTheCall) {
  const std::vector<int64_t> lengths{1, 63, 300, 128, 64, 129, 7, 127, 65, 256};
  const AttentionCase x = make_attention(3, lengths, lengths, 12);
  const Gradients all = run_backward(x);
  EXPECT_EQ(run_backward(x), all);
  EXPECT_EQ(run_backward(x, true, 1), all) << "a head at a time";
  EXPECT_EQ(run_backward(x, true, 2), all) << "two heads at a time";

  int64_t first = 0;
  for (size_t s = 0; s < lengths.size(); ++s) {
    const int64_t rows = lengths[s];
    EXPECT_EQ(rows_of(run_backward(part_of(x, s, 0, rows)), 3, 0, rows),
              rows_of(all, 3, first, rows))
        << "sequence " << s;
    first += rows;
  }
}

TEST_F(AttentionBackwardSm90, TakesSequencesOfOneLengthWithoutOffsets) {
  for (const int64_t rows : {64, 200, 256}) {
    const AttentionCase x = make_attention(2, {rows, rows, rows}, {rows, rows, rows}, 13);

    const Gradients with = run_backward(x), without = run_backward(x, false);

    EXPECT_EQ(with, without) << rows << " rows";
  }
}

TEST_F(AttentionBackwardSm90, LetsNothingInFromOtherDocumentsAndLeavesRowsBehindThemAlone) {
  AttentionCase x = make_attention(2, {100, 60, 210}, {100, 60, 210}, 14);
  const Gradients clean = run_backward(x);
  const auto poison = [&](std::vector<uint16_t>& rows, int64_t width) {
    std::fill_n(rows.begin() + 100 * 2 * width, 60 * 2 * width, bf16_nan);
  };
  poison(x.q, query_width);
  poison(x.k, nope_width);
  poison(x.k_rope, rope_width);
  poison(x.v, value_width);
  poison(x.d_o, value_width);

  const Gradients poisoned = run_backward(x);

  EXPECT_EQ(rows_of(poisoned, 2, 0, 100), rows_of(clean, 2, 0, 100));
  EXPECT_EQ(rows_of(poisoned, 2, 160, 210), rows_of(clean, 2, 160, 210));
  EXPECT_THAT(rows_from(poisoned.dv, 2 * value_width, 370, 70), testing::Each(bf16_nan));
  EXPECT_THAT(rows_from(poisoned.dq, 2 * query_width, 370, 70), testing::Each(bf16_nan));
}

TEST(AttentionBackwardSm90Arguments, NamesAWorkspaceThatIsTooSmall) {
  const kernels::cuda::PackedRows rows{nullptr, 128, 256};
  const int64_t least = kernels::cuda::attention_backward_sm90_workspace_bytes(2, 2, rows, 1);
  kernels::cuda::AttentionBackwardSm90Args args{};
  args.heads = 2;
  args.sequences = 2;
  args.rows = rows;
  args.workspace_bytes = least - 1;
  try {
    kernels::cuda::attention_backward_sm90(args, nullptr);
    FAIL() << "took it";
  } catch (const kernels::KernelError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("attention_backward_sm90 workspace has " + std::to_string(least - 1) +
                          " bytes, wanted at least " + std::to_string(least)));
  }
}

}  // namespace
}  // namespace troupe::tests
