#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/ops/attention_sequence.h"
#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using reference::AttentionShape;
using testing::HasSubstr;

/// What forward leaves for backward: B sequences of S rows that follow each other.
struct Forward {
  Forward(const AttentionShape& shape, int64_t sequences, uint32_t stream)
      : shape(shape),
        all({sequences * shape.S, shape.H, shape.H_kv, shape.dqk, shape.dv, shape.scale}, stream),
        d_o(normal({sequences * shape.S, shape.H * shape.dv}, stream + 3)),
        o(allocate_f32({sequences * shape.S, shape.H * shape.dv})),
        log_sums(allocate_f32({sequences * shape.S, shape.H})) {
    ThreadPool pool(1);
    Queue queue(pool);
    AttentionArgs args{.q = all.q,
                       .heads = shape.H,
                       .key_heads = shape.H_kv,
                       .scale = all.scale(),
                       .sequences = {},
                       .o = o,
                       .log_sums = log_sums};
    for (int64_t row = 0; row < all.shape.S; row += shape.S) {
      args.sequences.push_back({.query_row = row,
                                .queries = shape.S,
                                .first_position = 0,
                                .keys = one_page(row_range(all.k.view, row, shape.S)),
                                .values = one_page(row_range(all.v.view, row, shape.S))});
    }
    attention(queue, args);
    queue.wait();
  }

  AttentionShape shape;
  Sequence all;
  Buffer d_o, o, log_sums;
};

struct Gradient {
  Buffer dq, dk, dv;

  std::vector<float> joined() const {
    std::vector<float> all = to_vector(dq);
    for (const Buffer& b : {dk, dv}) {
      const auto more = to_vector(b);
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
};

AttentionBackwardArgs arguments(const Forward& f, const Gradient& out) {
  return {.do_ = f.d_o,
          .q = f.all.q,
          .k = f.all.k,
          .v = f.all.v,
          .o = f.o,
          .log_sums = f.log_sums,
          .sequence_rows = f.shape.S,
          .heads = f.shape.H,
          .key_heads = f.shape.H_kv,
          .scale = f.all.scale(),
          .dq = out.dq,
          .dk = out.dk,
          .dv = out.dv};
}

/// NaN beforehand: every element has to be written.
Gradient nothing_yet(const Forward& f) {
  const AttentionShape& x = f.all.shape;
  Gradient out{allocate_f32({x.S, x.H * x.dqk}), allocate_f32({x.S, x.H_kv * x.dqk}),
               allocate_f32({x.S, x.H_kv * x.dv})};
  for (const Buffer& b : {out.dq, out.dk, out.dv}) {
    std::fill_n(values<float>(b.view), b.view.count(), not_a_number);
  }
  return out;
}

Gradient run(Queue& queue, const Forward& f) {
  const Gradient out = nothing_yet(f);
  attention_backward(queue, arguments(f, out));
  queue.wait();
  return out;
}

TEST(AttentionBackward, AgreesWithTheFormula) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape : attention_shapes) {
    const Forward f(shape, 1, 1);

    const Gradient found = run(queue, f);

    const auto want = reference::attention_backward(shape, to_doubles(f.all.q), to_doubles(f.all.k),
                                                    to_doubles(f.all.v), to_doubles(f.d_o));
    if (shape.S > 1) {  // one key has the probability 1: no gradient but v's
      EXPECT_LT(relative_difference(to_doubles(found.dq), want.dq), 2e-6) << shape.S;
      EXPECT_LT(relative_difference(to_doubles(found.dk), want.dk), 2e-6) << shape.S;
    }
    EXPECT_LT(relative_difference(to_doubles(found.dv), want.dv), 2e-6) << shape.S;
  }
}

TEST(AttentionBackward, AgreesWithFiniteDifferences) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape :
       {AttentionShape{70, 2, 2, 3, 2, 0.5}, AttentionShape{70, 3, 1, 2, 3, 0.6},
        AttentionShape{67, 4, 2, 2, 3, 0.6}}) {
    const Forward f(shape, 1, 5);
    const Doubles q = to_doubles(f.all.q), k = to_doubles(f.all.k), v = to_doubles(f.all.v);
    const Doubles d_o = to_doubles(f.d_o);
    const auto loss = [&](const Doubles& q, const Doubles& k, const Doubles& v) {
      return inner_product(reference::attention(shape, q, k, v).o, d_o);
    };

    const Gradient found = run(queue, f);

    const Doubles dq = finite_differences([&](const Doubles& x) { return loss(x, k, v); }, q);
    const Doubles dk = finite_differences([&](const Doubles& x) { return loss(q, x, v); }, k);
    const Doubles dv = finite_differences([&](const Doubles& x) { return loss(q, k, x); }, v);
    EXPECT_LT(relative_difference(to_doubles(found.dq), dq), 2e-6);
    EXPECT_LT(relative_difference(to_doubles(found.dk), dk), 2e-6);
    EXPECT_LT(relative_difference(to_doubles(found.dv), dv), 2e-6);
  }
}

// Laws 1 and 2: neither the threads nor the instruction set show.
TEST(AttentionBackward, HasTheSameBitsOnEveryMachine) {
  for (const AttentionShape& shape : attention_shapes) {
    const Forward f(shape, 2, 9);
    expect_same_bits_everywhere([&](Queue& queue) { return run(queue, f).joined(); });
  }
}

// Law 1: sequences do not see each other.
TEST(AttentionBackward, HasTheSameBitsInAnyCompany) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t key_heads : {3, 1}) {
    const AttentionShape shape{75, 3, key_heads, 24, 20, 0.2};
    const Forward f(shape, 4, 13);
    const Gradient together = run(queue, f);

    for (int64_t row = 0; row < 4 * 75; row += 75) {
      const auto part = [row](const Buffer& b) { return row_range(b.view, row, 75); };
      const Gradient out = nothing_yet(f);
      AttentionBackwardArgs args = arguments(f, out);
      args.do_ = part(f.d_o), args.q = part(f.all.q), args.k = part(f.all.k);
      args.v = part(f.all.v), args.o = part(f.o), args.log_sums = part(f.log_sums);
      args.dq = part(out.dq), args.dk = part(out.dk), args.dv = part(out.dv);
      attention_backward(queue, args);
      queue.wait();

      EXPECT_TRUE(same_bits(to_vector(part(out.dq)), to_vector(part(together.dq)))) << row;
      EXPECT_TRUE(same_bits(to_vector(part(out.dk)), to_vector(part(together.dk)))) << row;
      EXPECT_TRUE(same_bits(to_vector(part(out.dv)), to_vector(part(together.dv)))) << row;
    }
  }
}

// Law 1: dq has nothing of later keys, dk and dv have nothing of earlier queries.
TEST(AttentionBackward, IsNotReachedByPairsThatAttentionDoesNotMake) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape : attention_shapes) {
    const int64_t cut = shape.S / 2;
    const Forward clean(shape, 1, 17), poisoned(shape, 1, 17);
    for (const Buffer& b : {poisoned.d_o, poisoned.o, poisoned.all.q, poisoned.log_sums}) {
      std::fill_n(values<float>(b.view), cut * b.view.cols(), not_a_number);
    }
    const auto later = [&](const Buffer& b) {
      return to_vector(row_range(b.view, cut, shape.S - cut));
    };

    const Gradient want = run(queue, clean), found = run(queue, poisoned);

    EXPECT_TRUE(same_bits(later(found.dq), later(want.dq))) << shape.S;
    EXPECT_TRUE(same_bits(later(found.dk), later(want.dk))) << shape.S;
    EXPECT_TRUE(same_bits(later(found.dv), later(want.dv))) << shape.S;

    const Forward keys_poisoned(shape, 1, 17);
    for (const Buffer& b : {keys_poisoned.all.k, keys_poisoned.all.v}) {
      std::fill_n(values<float>(b.view) + cut * b.view.cols(), (shape.S - cut) * b.view.cols(),
                  not_a_number);
    }
    const Gradient earlier = run(queue, keys_poisoned);
    EXPECT_TRUE(cut == 0 || same_bits(to_vector(row_range(earlier.dq.view, 0, cut)),
                                      to_vector(row_range(want.dq.view, 0, cut))))
        << shape.S;
  }
}

TEST(AttentionBackward, TakesSlicesOfColumnsEverywhere) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Forward f({70, 2, 2, 24, 20, 0.2}, 1, 21);
  const Gradient want = run(queue, f);
  const Widened d_o(f.d_o), q(f.all.q), k(f.all.k), v(f.all.v), o(f.o), log_sums(f.log_sums);
  const Buffer out = allocate_f32({70, 48 + 48 + 40 + 9});
  const Gradient found = nothing_yet(f);
  AttentionBackwardArgs args = arguments(f, found);
  args.do_ = d_o.view(), args.q = q.view(), args.k = k.view(), args.v = v.view();
  args.o = o.view(), args.log_sums = log_sums.view();
  args.dq = columns(out.view, 3, 48), args.dk = columns(out.view, 52, 48);
  args.dv = columns(out.view, 101, 40);

  attention_backward(queue, args);
  queue.wait();

  EXPECT_TRUE(same_bits(to_vector(args.dq), to_vector(want.dq)));
  EXPECT_TRUE(same_bits(to_vector(args.dk), to_vector(want.dk)));
  EXPECT_TRUE(same_bits(to_vector(args.dv), to_vector(want.dv)));
}

TEST(AttentionBackward, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Forward f({10, 2, 2, 8, 6, 0.3}, 1, 25);
  const Gradient out = nothing_yet(f);
  const auto error = [&](auto change) {
    AttentionBackwardArgs args = arguments(f, out);
    change(args);
    return kernel_error([&] { attention_backward(queue, args); });
  };

  EXPECT_THAT(error([](auto& a) { a.sequence_rows = 3; }), HasSubstr("3 does not divide 10"));
  EXPECT_THAT(error([](auto& a) { a.sequence_rows = 0; }), HasSubstr("0 does not divide 10"));
  EXPECT_THAT(error([](auto& a) { a.heads = a.key_heads = 3; }),
              HasSubstr("heads and the columns of q: 3 does not divide 16"));
  EXPECT_THAT(error([](auto& a) { a.heads = a.key_heads = 0; }), HasSubstr("0 does not divide 16"));
  EXPECT_THAT(error([](auto& a) { a.key_heads = 3; }),
              HasSubstr("key_heads 3, wanted a divisor of 2"));
  EXPECT_THAT(error([](auto& a) { a.key_heads = 1; }),
              HasSubstr("k is [10, 16] f32, wanted [10, 8] f32"));
  EXPECT_THAT(error([&](auto& a) { a.dv = out.dq; }), HasSubstr("dv is [10, 16] f32"));
  EXPECT_THAT(error([&](auto& a) { a.log_sums = f.o; }), HasSubstr("log_sums is [10, 12] f32"));
}

}  // namespace
}  // namespace troupe::tests
