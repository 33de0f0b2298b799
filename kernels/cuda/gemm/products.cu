#include "kernels/cuda/gemm/products.cuh"

#include <algorithm>

namespace troupe::kernels::cuda {

int64_t rows_between(const std::vector<ConstTensor>& b) {
  if (b.size() < 2) return b[0].rows();
  const int64_t row_bytes = b[0].row_stride * 2;
  const auto at = [&](size_t g) { return reinterpret_cast<intptr_t>(b[g].data); };
  const int64_t apart = at(1) - at(0);
  if (apart <= 0 || apart % row_bytes != 0) return -1;
  for (size_t g = 0; g < b.size(); ++g) {
    if (b[g].row_stride != b[0].row_stride) return -1;
    if (at(g) - at(0) != static_cast<int64_t>(g) * apart) return -1;
  }
  return apart / row_bytes;
}

UnitsOfGroups::UnitsOfGroups(Queue& queue, Scratch& scratch, const char* what,
                             const std::vector<GradientSum>& into,
                             const std::vector<int64_t>& offsets, int64_t M, int64_t N,
                             int64_t width)
    : queue_(queue), scratch_(scratch), into_(into), offsets_(offsets), N_(N) {
  const GradientSum& first = into[0];
  const int64_t groups = static_cast<int64_t>(into.size());
  const bool is_direct = !first.watch && N % 2 == 0;
  const bool are_first = is_direct && offsets.back() > 0 &&
                         std::all_of(into.begin(), into.end(),
                                     [](const GradientSum& sum) { return sum.is_first; });
  const std::string sum_name = std::string(what) + " sum";
  for (size_t g = 0; g < into.size(); ++g) {
    const bool is_empty = offsets[g] == offsets[g + 1];
    const bool is_left_alone = is_direct ? !are_first : is_empty;
    if (is_left_alone) add_empty_unit(queue, into[g]);
    expect_shape(sum_name.c_str(), into[g].sum, DType::i64, {M, N});
  }
  const auto [scale, bound] = fixed_point_range(first.scale_bits, first.units);
  rule_ = {scale, bound, reinterpret_cast<uint32_t*>(first.faults), first.locks != nullptr,
           are_first};
  if (offsets.back() == 0) return;
  const Tensor all = is_direct ? Tensor{} : scratch.f32({groups * M, width});
  for (int64_t g = 0; g < groups; ++g) {
    if (!is_direct) units_.push_back(columns(row_range(all, g * M, M), 0, N));
    results_.push_back(is_direct ? into[static_cast<size_t>(g)].sum.data : units_.back().data);
  }
}

void UnitsOfGroups::finish() const {
  for (size_t g = 0; g < units_.size(); ++g) {
    if (offsets_[g] == offsets_[g + 1]) continue;
    Tensor unit = units_[g];
    if (!unit.is_contiguous()) {
      unit = scratch_.f32({unit.rows(), N_});
      kernels::copy(queue_, {.x = units_[g], .y = unit});
    }
    add_unit(queue_, into_[g], unit);
  }
}

}  // namespace troupe::kernels::cuda
