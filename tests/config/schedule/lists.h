// Short notation for lists of operations.
#pragma once

#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "config/schedule/schedule.h"

namespace troupe::config {

/// "F0 I0 W0 F1&B2": kind and micro-batch; & joins what is played side by side. With `with_stage`
/// "F0@3".
inline std::string notation(std::span<const Operation> list, bool with_stage = false) {
  std::string text;
  bool joins = true;
  for (const Operation& operation : list) {
    if (!joins) text += " ";
    text += "FBIW"[static_cast<int>(operation.kind)] + std::to_string(operation.micro_batch);
    if (with_stage) text += "@" + std::to_string(operation.stage);
    joins = operation.is_beside_next;
    if (joins) text += "&";
  }
  return text;
}

inline std::vector<int> first_micro_batches(int n) {
  std::vector<int> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace troupe::config
