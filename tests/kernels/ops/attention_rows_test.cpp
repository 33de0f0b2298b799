// Law 1 for attention: what a row's result depends on, and what it does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/ops/attention_sequence.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using reference::AttentionShape;

/// Lengths of queries that add up to S, below `most`.
std::vector<int64_t> random_chunks(int64_t S, uint64_t most, uint32_t stream) {
  std::vector<int64_t> chunks;
  for (int64_t done = 0; done < S; done += chunks.back()) {
    const auto length = 1 + random_below({7, Purpose::test, stream, chunks.size()}, most);
    chunks.push_back(std::min(S - done, static_cast<int64_t>(length)));
  }
  return chunks;
}

std::vector<float> run_in_chunks(Queue& queue, const Sequence& s,
                                 const std::vector<int64_t>& chunks, const KeyPages& keys,
                                 const KeyPages& values) {
  std::vector<float> all;
  int64_t first = 0;
  for (const int64_t queries : chunks) {
    const std::vector<float> rows = run_attention(queue, s, first, queries, keys, values);
    all.insert(all.end(), rows.begin(), rows.end());
    first += queries;
  }
  return all;
}

// Law 1: neither the threads nor the instruction set show.
TEST(Attention, HasTheSameBitsOnEveryMachine) {
  for (const AttentionShape& shape : attention_shapes) {
    const Sequence s(shape, 4);
    expect_same_bits_everywhere([&](Queue& queue) { return run_attention(queue, s); });
  }
}

// Law 1: prefill, chunked prefill and decode are one function, whatever the pages.
TEST(Attention, HasTheSameBitsInAnyChunksAndPages) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape : attention_shapes) {
    const Sequence s(shape, 7);
    const std::vector<float> whole = run_attention(queue, s);

    for (const int64_t page_rows : {1, 3, 16, 64, 100, 1000}) {
      const Paged keys(s.k, page_rows, 3), values(s.v, page_rows == 16 ? 5 : page_rows, 0);
      const auto stream = static_cast<uint32_t>(page_rows);
      for (const uint64_t most : {8, 150}) {
        const auto chunks = random_chunks(shape.S, most, stream);
        EXPECT_TRUE(same_bits(run_in_chunks(queue, s, chunks, keys.keys, values.keys), whole))
            << shape.S << " rows in pages of " << page_rows << ", chunks up to " << most;
      }
    }
    const std::vector<int64_t> one_by_one(static_cast<size_t>(shape.S), 1);
    const Paged keys(s.k, 16, 0), values(s.v, 16, 1);
    EXPECT_TRUE(same_bits(run_in_chunks(queue, s, one_by_one, keys.keys, values.keys), whole));
  }
}

// Law 1: what stands beside a sequence in the call does not show, nor where its rows stand.
TEST(Attention, HasTheSameBitsInAnyCompany) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t key_heads : {3, 1}) {
    const int64_t H = 3, dqk = 24, dv = 20;
    std::vector<Sequence> sequences;
    for (const int64_t S : {70, 1, 129, 16, 300}) {
      sequences.emplace_back(AttentionShape{S, H, key_heads, dqk, dv, 0.2}, 10 * S);
    }
    const Buffer q = allocate_f32({600, H * dqk}), o = allocate_f32({600, H * dv});
    const Buffer log_sums = allocate_f32({600, H});
    AttentionArgs args{.q = q,
                       .heads = H,
                       .key_heads = key_heads,
                       .scale = 0.2f,
                       .sequences = {},
                       .o = o,
                       .log_sums = log_sums};
    int64_t row = 600;  // the last sequence first, with gaps, each from its middle on
    for (const Sequence& s : sequences) {
      const int64_t first = s.shape.S / 2, queries = s.shape.S - first;
      row -= queries + 7;
      args.sequences.push_back({.query_row = row,
                                .queries = queries,
                                .first_position = first,
                                .keys = one_page(s.k),
                                .values = one_page(s.v)});
      args.sequences.push_back({.query_row = row,
                                .queries = 0,
                                .first_position = 0,
                                .keys = one_page(s.k),
                                .values = one_page(s.v)});
      std::copy_n(values<float>(s.q.view) + first * H * dqk, queries * H * dqk,
                  values<float>(q.view) + row * H * dqk);
    }

    attention(queue, args);
    queue.wait();

    for (size_t i = 0; i < sequences.size(); ++i) {
      const AttentionSequence& at = args.sequences[2 * i];
      const auto alone =
          run_attention(queue, sequences[i], at.first_position, at.queries, at.keys, at.values);
      EXPECT_TRUE(same_bits(joined(row_range(o.view, at.query_row, at.queries),
                                   row_range(log_sums.view, at.query_row, at.queries)),
                            alone))
          << "sequence " << i;
    }
  }
}

// Law 1: a row's result depends on keys and values up to its position alone.
TEST(Attention, IsNotReachedByWhatStandsBehindAPosition) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape : attention_shapes) {
    const Sequence s(shape, 13);
    const std::vector<float> clean = run_attention(queue, s);
    const size_t row_size = clean.size() / static_cast<size_t>(shape.S);
    for (const int64_t last : {int64_t{0}, shape.S / 3, shape.S - 1}) {
      const Sequence poisoned(shape, 13);
      for (const Buffer& b : {poisoned.q, poisoned.k, poisoned.v}) {
        const Tensor behind = row_range(b.view, last + 1, shape.S - last - 1);
        std::fill_n(values<float>(behind), behind.count(), not_a_number);
      }

      std::vector<float> found = run_attention(queue, poisoned);

      found.resize(static_cast<size_t>(last + 1) * row_size);
      EXPECT_TRUE(
          same_bits(found, {clean.begin(), clean.begin() + static_cast<int64_t>(found.size())}))
          << shape.S << " rows, NaN behind " << last;
    }
  }
}

// Law 1, to the letter: the first row has one key, so its log_sum is its score; without a query
// all probabilities are 1 before the division.
TEST(Attention, MakesEachNumberOneChainInTheStatedOrder) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape : attention_shapes) {
    const Sequence s(shape, 31);
    const int64_t together = shape.H / shape.H_kv;  // heads of a key
    const float *q = values<float>(s.q.view), *k = values<float>(s.k.view);
    const std::vector<float> found = run_attention(queue, s);
    for (int64_t h = 0; h < shape.H; ++h) {
      float score = 0;
      for (int64_t d = 0; d < shape.dqk; ++d) {
        score = std::fma(q[h * shape.dqk + d], k[(h / together) * shape.dqk + d], score);
      }
      EXPECT_EQ(found[static_cast<size_t>(shape.H * shape.dv + h)], score * s.scale());
    }

    std::fill_n(values<float>(s.q.view), s.q.view.count(), 0.0f);
    const std::vector<float> means = run_attention(queue, s);
    std::vector<float> sums(static_cast<size_t>(shape.H_kv * shape.dv), 0.0f);
    size_t at = 0;
    for (int64_t t = 0; t < shape.S; ++t) {
      const float* v = values<float>(s.v.view) + t * shape.H_kv * shape.dv;
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += v[i];
      for (int64_t i = 0; i < shape.H * shape.dv; ++i) {
        const int64_t key = i / shape.dv / together;
        const float sum = sums[static_cast<size_t>(key * shape.dv + i % shape.dv)];
        ASSERT_EQ(means[at++], sum / static_cast<float>(t + 1)) << shape.S << ", row " << t;
      }
      at += static_cast<size_t>(shape.H);
    }
  }
}

}  // namespace
}  // namespace troupe::tests
