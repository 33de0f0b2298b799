#pragma once

#include <string>
#include <string_view>

namespace troupe::runtime {

/// `text` as a terminal may get it: valid UTF-8, with '?' for control characters.
std::string printable(std::string_view text);

}  // namespace troupe::runtime
