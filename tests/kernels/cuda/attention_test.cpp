#include "kernels/ops/attention.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using AttentionCudaTest = GpuTest;

struct Shape {
  int64_t B, S, heads, key_heads, dqk, dv;
};

std::string text(const Shape& s) {
  return "B " + std::to_string(s.B) + " S " + std::to_string(s.S) + " H " +
         std::to_string(s.heads) + "/" + std::to_string(s.key_heads) + " widths " +
         std::to_string(s.dqk) + ", " + std::to_string(s.dv);
}

const Shape shapes[] = {{1, 1, 1, 1, 8, 8},      {2, 17, 2, 2, 24, 16},    {1, 64, 3, 3, 40, 32},
                        {2, 65, 2, 1, 12, 20},   {1, 200, 4, 2, 192, 128}, {1, 130, 2, 1, 200, 136},
                        {3, 129, 16, 16, 24, 16}};

std::vector<AttentionSequence> sequences_of(const Shape& s, const Tensor& k, const Tensor& v) {
  std::vector<AttentionSequence> sequences;
  for (int64_t b = 0; b < s.B; ++b) {
    sequences.push_back({b * s.S,
                         s.S,
                         0,
                         {{row_range(k, b * s.S, s.S)}, s.S},
                         {{row_range(v, b * s.S, s.S)}, s.S}});
  }
  return sequences;
}

TEST_F(AttentionCudaTest, GivesTheCpusBitsForwardAndBackward) {
  for (const Shape& s : shapes) {
    const int64_t T = s.B * s.S;
    const Buffer q = normal({T, s.heads * s.dqk}, 1), k = normal({T, s.key_heads * s.dqk}, 2);
    const Buffer v = normal({T, s.key_heads * s.dv}, 3), d_o = normal({T, s.heads * s.dv}, 4);
    expect_twins(
        [&](Side& side) {
          const Tensor on_q = side.in(q), on_k = side.in(k), on_v = side.in(v);
          const Tensor o = side.out({T, s.heads * s.dv}), sums = side.out({T, s.heads});
          const Tensor dq = side.out({T, s.heads * s.dqk}), dk = side.out({T, s.key_heads * s.dqk});
          const Tensor dv = side.out({T, s.key_heads * s.dv});
          const float scale = 0.3f;
          attention(side.queue, {.q = on_q,
                                 .heads = s.heads,
                                 .key_heads = s.key_heads,
                                 .scale = scale,
                                 .sequences = sequences_of(s, on_k, on_v),
                                 .o = o,
                                 .log_sums = sums});
          attention_backward(side.queue, {.do_ = side.in(d_o),
                                          .q = on_q,
                                          .k = on_k,
                                          .v = on_v,
                                          .o = o,
                                          .log_sums = sums,
                                          .sequence_rows = s.S,
                                          .heads = s.heads,
                                          .key_heads = s.key_heads,
                                          .scale = scale,
                                          .dq = dq,
                                          .dk = dk,
                                          .dv = dv});
          return side.bytes({o, sums, dq, dk, dv});
        },
        text(s));
  }
}

// As in decoding: a few queries behind a long past, keys in pages with NaN where no key is.
TEST_F(AttentionCudaTest, ReadsPagesOfACacheAndNothingBehindTheQuery) {
  constexpr int64_t H = 8, dqk = 72, dv = 64, page_rows = 16, past = 100, queries = 3, pages = 7;
  const Buffer q = normal({queries, H * dqk}, 5);
  Buffer cache = normal({pages * page_rows, dqk + dv}, 6);
  for (int64_t row = past + queries; row < pages * page_rows; ++row) {
    for (int64_t i = 0; i < dqk + dv; ++i) {
      values<float>(cache.view)[row * (dqk + dv) + i] = std::numeric_limits<float>::quiet_NaN();
    }
  }

  const auto found = expect_twins([&](Side& side) {
    const Tensor rows = side.in(cache), o = side.out({queries, H * dv});
    AttentionSequence sequence{0, queries, past, {{}, page_rows}, {{}, page_rows}};
    for (int64_t p = 0; p < pages; ++p) {
      const Tensor page = row_range(rows, p * page_rows, page_rows);
      sequence.keys.pages.push_back(columns(page, 0, dqk));
      sequence.values.pages.push_back(columns(page, dqk, dv));
    }
    attention(side.queue, {.q = side.in(q),
                           .heads = H,
                           .key_heads = 1,
                           .scale = 0.1f,
                           .sequences = {sequence},
                           .o = o,
                           .log_sums = {}});
    return side.bytes({o});
  });

  for (size_t i = 0; i < found.size(); i += 4) {
    float value;
    std::memcpy(&value, found.data() + i, 4);
    ASSERT_FALSE(std::isnan(value));
  }
}

}  // namespace
}  // namespace troupe::tests
