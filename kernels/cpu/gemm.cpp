#if !defined(TROUPE_ISA_PASS)

#include "kernels/gemm.h"

#include <memory>
#include <string>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/cpu/gemm_block.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/gemm.cpp"
#include "kernels/cpu/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

/// Columns are dealt to parts by panels of this many, whatever the instruction set.
constexpr int64_t panel_width = 32;
/// Multiply-adds that take as long as one elementary operation of part_count.
constexpr int64_t fmas_per_operation = 4;
/// Taking a panel of b apart costs about as much as multiplying this many rows with it.
constexpr int64_t panel_rows = 4;

int64_t panels_of(int64_t cols) { return (cols + panel_width - 1) / panel_width; }

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
    const int64_t time = rounds * part_panels * (part_rows + panel_rows);
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
  g.rows = rows.end - rows.begin;
  g.cols = cols.end - cols.begin;
  return g;
}

Range panel_columns(Range panels, int64_t cols) {
  return {panels.begin * panel_width, std::min(cols, panels.end * panel_width)};
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

/// Products of one shape of columns that stand one behind the other: a part takes panels from
/// several of them, about as much work as any other part.
void run_groups(Queue& queue, std::vector<GemmBlock> groups) {
  std::vector<int64_t> starts{0};  // work before each group, in panel columns times rows
  for (const GemmBlock& g : groups) {
    // Even a group without depth has its zeros to write.
    const int64_t panel_work = (g.rows == 0 ? 0 : g.rows + panel_rows) * (g.depth + 4);
    starts.push_back(starts.back() + panels_of(g.cols) * panel_work);
  }
  const int64_t work = starts.back();
  if (work == 0) return;
  // Parts are equal, so a number of them that the threads do not divide leaves threads idle.
  const int64_t most_parts = part_count(queue, work, panel_width / fmas_per_operation);
  const int64_t threads = queue.threads();
  const int64_t parts = most_parts < threads ? most_parts : most_parts / threads * threads;
  queue.run(
      parts, [groups = std::move(groups), starts = std::move(starts), work, parts](int64_t part) {
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
          TROUPE_ISA_CALL(multiply_block)(sub_block(g, {0, g.rows}, panel_columns(mine, g.cols)));
        }
      });
}

}  // namespace

void gemm(Queue& queue, const GemmArgs& args) {
  const OperatorLabel label("gemm");
  const int64_t M = args.transpose_a ? args.a.cols() : args.a.rows();
  const int64_t K = args.transpose_a ? args.a.rows() : args.a.cols();
  const int64_t N = args.transpose_b ? args.b.rows() : args.b.cols();
  if (args.transpose_a) {
    expect_shape("gemm a (transposed)", args.a, DType::f32, {K, M});
  } else {
    expect_shape("gemm a", args.a, DType::f32, {M, K});
  }
  if (args.transpose_b) {
    expect_shape("gemm b (transposed)", args.b, DType::f32, {N, K});
  } else {
    expect_shape("gemm b", args.b, DType::f32, {K, N});
  }
  expect_shape("gemm c", args.c, DType::f32, {M, N});
  const GemmBlock whole{.a = values<float>(args.a),
                        .a_row = args.transpose_a ? 1 : args.a.row_stride,
                        .a_k = args.transpose_a ? args.a.row_stride : 1,
                        .b = values<float>(args.b),
                        .b_stride = args.b.row_stride,
                        .b_transposed = args.transpose_b,
                        .c = values<float>(args.c),
                        .c_row = args.c.row_stride,
                        .rows = M,
                        .cols = N,
                        .depth = K,
                        .add = args.add_to_c};
  if (M == 0 || N == 0) return;
  const int64_t panels = panels_of(N);
  const int64_t cost = (K + 4) * panel_width / fmas_per_operation;
  const int64_t most_parts = part_count(queue, (M + panel_rows) * panels, cost);
  const Grid grid = choose_grid(most_parts, queue.threads(), M, panels);
  queue.run(grid.rows_parts * grid.cols_parts, [whole, grid, panels](int64_t part) {
    const Range rows = part_range(whole.rows, grid.rows_parts, part % grid.rows_parts);
    const Range mine = part_range(panels, grid.cols_parts, part / grid.rows_parts);
    TROUPE_ISA_CALL(multiply_block)(sub_block(whole, rows, panel_columns(mine, whole.cols)));
  });
}

void grouped_gemm(Queue& queue, const GroupedGemmArgs& args) {
  const OperatorLabel label("grouped_gemm");
  const int64_t R = args.a.rows(), K = args.a.cols(), N = args.c.cols();
  expect_shape("grouped_gemm a", args.a, DType::f32, {R, K});
  expect_shape("grouped_gemm c", args.c, DType::f32, {R, N});
  expect_offsets("grouped_gemm", args.offsets, args.b.size(), R);
  std::vector<GemmBlock> groups;
  groups.reserve(args.b.size());
  for (size_t g = 0; g < args.b.size(); ++g) {
    const std::string name = "grouped_gemm b[" + std::to_string(g) + "]";
    if (args.transpose_b) {
      expect_shape(name.c_str(), args.b[g], DType::f32, {N, K});
    } else {
      expect_shape(name.c_str(), args.b[g], DType::f32, {K, N});
    }
    const int64_t first = args.offsets[g];
    groups.push_back({.a = values<float>(args.a) + first * args.a.row_stride,
                      .a_row = args.a.row_stride,
                      .a_k = 1,
                      .b = values<float>(args.b[g]),
                      .b_stride = args.b[g].row_stride,
                      .b_transposed = args.transpose_b,
                      .c = values<float>(args.c) + first * args.c.row_stride,
                      .c_row = args.c.row_stride,
                      .rows = args.offsets[g + 1] - first,
                      .cols = N,
                      .depth = K,
                      .add = false});
  }
  run_groups(queue, std::move(groups));
}

void grouped_gemm_weights(Queue& queue, const GroupedGemmWeightsArgs& args) {
  const OperatorLabel label("grouped_gemm_weights");
  const int64_t R = args.a.rows(), M = args.a.cols(), N = args.b.cols();
  expect_shape("grouped_gemm_weights a", args.a, DType::f32, {R, M});
  expect_shape("grouped_gemm_weights b", args.b, DType::f32, {R, N});
  expect_offsets("grouped_gemm_weights", args.offsets, args.c.size(), R);
  std::vector<GemmBlock> groups;
  groups.reserve(args.c.size());
  for (size_t g = 0; g < args.c.size(); ++g) {
    const std::string name = "grouped_gemm_weights c[" + std::to_string(g) + "]";
    expect_shape(name.c_str(), args.c[g], DType::f32, {M, N});
    const int64_t first = args.offsets[g];
    groups.push_back({.a = values<float>(args.a) + first * args.a.row_stride,
                      .a_row = 1,
                      .a_k = args.a.row_stride,
                      .b = values<float>(args.b) + first * args.b.row_stride,
                      .b_stride = args.b.row_stride,
                      .b_transposed = false,
                      .c = values<float>(args.c[g]),
                      .c_row = args.c[g].row_stride,
                      .rows = M,
                      .cols = N,
                      .depth = args.offsets[g + 1] - first,
                      .add = false});
  }
  run_groups(queue, std::move(groups));
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/gemm_block.inl"

#endif
