#include "kernels/cpu/gemm/gemm_plan.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace troupe::kernels::cpu {

namespace {

/// Columns are dealt to parts by panels of this many, whatever the instruction set.
constexpr int64_t panel_width = 32;
/// Multiply-adds that take as long as one elementary operation of part_count.
constexpr int64_t fmas_per_operation = 4;
/// Taking a panel of b apart costs about as much as multiplying this many rows with it.
constexpr int64_t panel_rows = 4;
/// Bringing a part's rows of a near so often costs about as much as multiplying them with a panel.
constexpr int64_t reads_a_panel = 4;
/// Each part takes its panels of b apart for itself: more parts cost more than they balance.
constexpr int64_t parts_a_thread = 2;

int64_t panels_of(int64_t cols) { return (cols + panel_width - 1) / panel_width; }

int64_t parts_of(const Queue& queue, int64_t items, int64_t cost) {
  return std::min(part_count(queue, items, cost), parts_a_thread * queue.threads());
}

/// How a product is cut into rows_parts by cols_parts parts.
struct Grid {
  int64_t rows_parts;
  int64_t cols_parts;
};

/// The grid of at most `parts` parts whose longest run of parts on one thread is shortest.
Grid choose_grid(int64_t parts, int64_t threads, int64_t rows, int64_t panels) {
  Grid best{1, 1};
  int64_t best_time = std::numeric_limits<int64_t>::max();
  for (int64_t cols_parts = 1; cols_parts <= std::min(parts, panels); ++cols_parts) {
    const int64_t rows_parts = std::clamp<int64_t>(parts / cols_parts, 1, (rows + 15) / 16);
    const int64_t part_panels = (panels + cols_parts - 1) / cols_parts;
    const int64_t part_rows = (rows + rows_parts - 1) / rows_parts;
    const int64_t rounds = (rows_parts * cols_parts + threads - 1) / threads;
    const int64_t time = rounds * (reads_a_panel * part_panels + 1) * (part_rows + panel_rows);
    if (time < best_time) {
      best_time = time;
      best = {rows_parts, cols_parts};
    }
  }
  return best;
}

/// The rectangle of c, and what of a and b it takes.
GemmBlock sub_block(GemmBlock g, Range rows, Range cols) {
  g.a += rows.begin * g.a_row;
  g.b += cols.begin * (g.b_transposed ? g.b_stride : 1);
  g.c += rows.begin * g.c_row + cols.begin;
  g.scales.first_row += rows.begin;
  g.scales.first_col += cols.begin;
  g.rows = rows.end - rows.begin;
  g.cols = cols.end - cols.begin;
  return g;
}

Range panel_columns(Range panels, int64_t cols) {
  return {panels.begin * panel_width, std::min(cols, panels.end * panel_width)};
}

}  // namespace

int64_t block_elements() {
  static const int64_t elements = [] {
    constexpr int64_t usual_bytes = 512 << 10, most_bytes = 2 << 20;
    const int64_t found = sysconf(_SC_LEVEL2_CACHE_SIZE);
    const int64_t cache = found > 0 ? std::min(found, most_bytes) : usual_bytes;
    return cache / 4 * 3 / static_cast<int64_t>(sizeof(float));
  }();
  return elements;
}

GemmBlock row_product(const ConstTensor& a, const ConstTensor& b, bool transpose_b,
                      const Tensor& c) {
  return {.a = values<float>(a),
          .a_row = a.row_stride,
          .a_k = 1,
          .b = values<float>(b),
          .b_stride = b.row_stride,
          .b_transposed = transpose_b,
          .c = values<float>(c),
          .c_row = c.row_stride,
          .rows = a.rows(),
          .cols = c.cols(),
          .depth = a.cols(),
          .add = false};
}

GemmBlock column_product(const ConstTensor& a, const ConstTensor& b, const Tensor& c) {
  return {.a = values<float>(a),
          .a_row = 1,
          .a_k = a.row_stride,
          .b = values<float>(b),
          .b_stride = b.row_stride,
          .b_transposed = false,
          .c = values<float>(c),
          .c_row = c.row_stride,
          .rows = a.cols(),
          .cols = b.cols(),
          .depth = a.rows(),
          .add = false};
}

void expect_offsets(const char* what, const std::vector<int64_t>& offsets, size_t groups,
                    int64_t rows) {
  const auto fail = [what](const std::string& text) {
    throw KernelError(std::string(what) + " offsets " + text);
  };
  if (offsets.size() != groups + 1) {
    fail("have " + std::to_string(offsets.size()) + " entries, wanted " +
         std::to_string(groups + 1) + " for " + std::to_string(groups) + " groups");
  }
  if (offsets.front() != 0) fail("begin at " + std::to_string(offsets.front()) + ", wanted 0");
  for (size_t g = 0; g < groups; ++g) {
    if (offsets[g + 1] >= offsets[g]) continue;
    fail("fall from " + std::to_string(offsets[g]) + " to " + std::to_string(offsets[g + 1]) +
         " at group " + std::to_string(g));
  }
  if (offsets.back() != rows) {
    fail("end at " + std::to_string(offsets.back()) + ", wanted " + std::to_string(rows));
  }
}

void expect_operands(const char* what, std::initializer_list<ConstTensor> operands, Device queue) {
  for (const ConstTensor& operand : operands) expect_reachable(what, operand, queue);
}

void run_product(Queue& queue, const GemmBlock& whole, MultiplyBlock multiply) {
  if (whole.rows == 0 || whole.cols == 0) return;
  const int64_t panels = panels_of(whole.cols);
  const int64_t cost = (whole.depth + 4) * panel_width / fmas_per_operation;
  const int64_t most_parts = parts_of(queue, (whole.rows + panel_rows) * panels, cost);
  const Grid grid = choose_grid(most_parts, queue.threads(), whole.rows, panels);
  queue.run(grid.rows_parts * grid.cols_parts, [whole, grid, panels, multiply](int64_t part) {
    const Range rows = part_range(whole.rows, grid.rows_parts, part % grid.rows_parts);
    const Range mine = part_range(panels, grid.cols_parts, part / grid.rows_parts);
    multiply(sub_block(whole, rows, panel_columns(mine, whole.cols)));
  });
}

void run_groups(Queue& queue, std::vector<GemmBlock> groups, MultiplyBlock multiply) {
  std::vector<int64_t> starts{0};  // work before each group, in panel columns times rows
  for (const GemmBlock& g : groups) {
    // Even a group without depth has its zeros to write.
    const int64_t panel_work = (g.rows == 0 ? 0 : g.rows + panel_rows) * (g.depth + 4);
    starts.push_back(starts.back() + panels_of(g.cols) * panel_work);
  }
  const int64_t work = starts.back();
  if (work == 0) return;
  // Parts are equal, so a number of them that the threads do not divide leaves threads idle.
  const int64_t most_parts = parts_of(queue, work, panel_width / fmas_per_operation);
  const int64_t threads = queue.threads();
  const int64_t parts = most_parts < threads ? most_parts : most_parts / threads * threads;
  queue.run(parts, [groups = std::move(groups), starts = std::move(starts), work, parts,
                    multiply](int64_t part) {
    // Panel p of a group belongs to the part in whose range its first work lies.
    const auto [begin, end] = part_range(work, parts, part);
    for (size_t i = 0; i < groups.size(); ++i) {
      if (starts[i + 1] <= begin || starts[i] >= end || starts[i + 1] == starts[i]) continue;
      const GemmBlock& g = groups[i];
      const int64_t panels = panels_of(g.cols);
      const int64_t each = (starts[i + 1] - starts[i]) / panels;
      const auto panel_at = [&](int64_t at) {
        return std::clamp<int64_t>((at - starts[i] + each - 1) / each, 0, panels);
      };
      const Range mine{begin <= starts[i] ? 0 : panel_at(begin), panel_at(end)};
      if (mine.begin >= mine.end) continue;
      multiply(sub_block(g, {0, g.rows}, panel_columns(mine, g.cols)));
    }
  });
}

}  // namespace troupe::kernels::cpu
