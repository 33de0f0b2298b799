// Lists with times, for the tests of traces.
#pragma once

#include "runtime/telemetry/trace/traced_list.h"

namespace troupe::tests {

using Kind = config::Operation::Kind;

/// Times in nanoseconds.
inline runtime::TracedOperation traced(const config::Operation& operation, int from_process, int64_t ready,
                                       int64_t begin, int64_t end) {
  runtime::TracedOperation each;
  each.operation = operation;
  each.from_process = from_process;
  each.ready_ns = ready;
  each.begin_ns = begin;
  each.end_ns = end;
  return each;
}

inline runtime::TracedList list_of(int64_t step, int rank, int64_t begin, int64_t end,
                                   std::vector<runtime::TracedOperation> operations) {
  runtime::TracedList list;
  list.step = step;
  list.rank = rank;
  list.begin_ns = begin;
  list.end_ns = end;
  list.operations = std::move(operations);
  return list;
}

/// Rank 1 of 2, in process 1: waits for process 0 from 100 to 1,000, and has a forward beside a backward.
inline runtime::TracedList second_rank(int64_t step = 3) {
  return list_of(step, 1, 100, 9'000,
                 {traced({Kind::forward, 1, 0}, 0, 1'000, 1'200, 2'000),
                  traced({Kind::forward, 1, 1, true}, 0, 1'500, 2'100, 4'000),
                  traced({Kind::backward, 1, 0}, -1, 100, 2'100, 5'000),
                  traced({Kind::backward, 1, 1}, -1, 100, 5'000, 8'500)});
}

}  // namespace troupe::tests
