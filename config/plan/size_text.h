// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace troupe::config {

/// "671,026,419,200".
std::string grouped(int64_t number);

/// "19.9 TiB".
std::string size_text(int64_t bytes);

}  // namespace troupe::config
