// Copies a cell that its actor goes on to write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "runtime/telemetry/cell_layout.h"

namespace troupe::runtime {

/// Copies `bytes` at `offset` to `to`; false: there are not that many.
using ReadBytes = std::function<bool(uint64_t offset, void* to, size_t bytes)>;

/// Copies cell `index` to `slot`. What stands under a sequence number is of one moment; if it never
/// stood still while we looked, the message, the wait or the text is given as none. `life` is odd
/// if the cell changes hands. False: the file ends before the cell does.
bool look_at_cell(const ReadBytes& read, size_t index, CellSlot& slot);

}  // namespace troupe::runtime
