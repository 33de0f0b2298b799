// The order in which `troupe ps` shows actors.
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/telemetry/cell_reader.h"

namespace troupe::deploy {

struct PsRow {
  size_t cell = 0;  ///< index among the cells
  int depth = 0;    ///< 0: at the top
};

/// Every name below its parent, the newest life of a name first. Who has no parent among the cells
/// stands at the top; a ring of parents, which only a damaged file has, is cut somewhere. Unless
/// `is_all`, of lives that are over only the last of each name has a row.
std::vector<PsRow> ps_rows(const std::vector<runtime::CellView>& cells, bool is_all);

}  // namespace troupe::deploy
