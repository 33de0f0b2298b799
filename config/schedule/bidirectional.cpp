#include "config/schedule/bidirectional.h"

#include <deque>

namespace troupe::config {
namespace {

using Kind = Operation::Kind;

/// Writes a list: the next operation of a kind takes its stream's next micro-batch.
class ListWriter {
 public:
  ListWriter(const Stream& own, const Stream& facing) : lanes_{{&own}, {&facing}} {}

  enum Side { own, facing };

  void forward(Side side) { add(Kind::forward, side, lanes_[side].forwards++); }
  void backward(Side side) { add(Kind::backward, side, lanes_[side].backwards++); }
  /// Leaves the weight gradients for later.
  void backward_input(Side side) {
    add(Kind::backward_input, side, lanes_[side].backwards++);
    weights_.push_back(list_.back());
  }
  /// Of the earliest backward that left them.
  void backward_weight() {
    list_.push_back(weights_.front());
    list_.back().kind = Kind::backward_weight;
    weights_.pop_front();
  }
  void forward_beside_backward(Side forward_side, Side backward_side) {
    forward(forward_side);
    list_.back().is_beside_next = true;
    backward(backward_side);
  }

  std::vector<Operation> take() { return std::move(list_); }

 private:
  struct Lane {
    const Stream* stream;
    size_t forwards = 0, backwards = 0;
  };

  void add(Kind kind, Side side, size_t index) {
    const Stream& stream = *lanes_[side].stream;
    list_.push_back({kind, stream.stage, stream.micro_batches[index]});
  }

  Lane lanes_[2];
  std::deque<Operation> weights_;
  std::vector<Operation> list_;
};

template <class F>
void repeat(int times, F f) {
  for (int i = 0; i < times; ++i) f();
}

}  // namespace

std::vector<Operation> bidirectional_list(const BidirectionalArgs& args) {
  constexpr auto own = ListWriter::own, facing = ListWriter::facing;
  const int to_middle = args.to_middle, turns = args.to_end + 1;
  const int count = static_cast<int>(args.own.micro_batches.size());
  const int full = count - 2 * to_middle - turns;  // of the main part
  ListWriter list(args.own, args.facing);
  repeat(2 * to_middle, [&] { list.forward(own); });
  repeat(turns, [&] {
    list.forward(own);
    list.forward(facing);
  });
  repeat(to_middle, [&] {
    list.backward_input(facing);
    list.backward_weight();
    list.forward(facing);
  });
  for (int i = 0; i < full; ++i) {
    if (i == 0 && to_middle == 0) {
      // Where the streams meet, the backward waits for this rank's own forward: not beside it.
      list.forward(own);
      list.backward(facing);
    } else {
      list.forward_beside_backward(own, facing);
    }
    list.forward_beside_backward(facing, own);
  }
  repeat(to_middle, [&] {
    list.backward(facing);
    list.forward_beside_backward(facing, own);
  });
  // From the middle on weight gradients are left for the bubbles at the end.
  const auto drain = [&](int backward, ListWriter::Side side) {
    if (backward > turns) {
      list.backward_input(side);
    } else {
      list.backward(side);
    }
  };
  for (int i = 0; i < turns; ++i) {
    drain(2 * i + 1, facing);
    drain(2 * i + 2, own);
  }
  repeat(to_middle, [&] {
    list.backward_weight();
    list.backward_input(own);
  });
  repeat(turns, [&] { list.backward_weight(); });
  return list.take();
}

}  // namespace troupe::config
