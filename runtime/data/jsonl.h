#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/document.h"

namespace troupe::runtime {

/// Reads JSON Lines: each line that is not blank is an object with
///   "text": STRING, or
///   "messages": [{"role": "system" | "user" | "assistant", "content": STRING}, ...], or
///   "prompt": STRING and "completion": STRING.
/// Other members are left aside. Throws DataError with `name` and the line.
std::vector<Document> read_jsonl(std::string_view text, const std::string& name);

}  // namespace troupe::runtime
