#include "deploy/bench/kernels/table.h"

#include <fmt/format.h>

namespace troupe::deploy::kernel_bench {
namespace {

constexpr const char* columns = "{:<27} {:<30} {:>9} {:>12} {:>7} of {:<10} {:<10} {:>9} {:>6}  {}\n";

std::string describe_rate(const Row& row, Bound bound) {
  return bound == Bound::copy ? fmt::format("{:.2f} TB/s", 1e-12 * rate(row, bound))
                              : fmt::format("{:.0f} TFLOPS", 1e-12 * rate(row, bound));
}

std::string describe(const Verdict& verdict) {
  const char* const outcome = !verdict.found ? "not measured" : verdict.is_met() ? "met" : "missed";
  return fmt::format("{}: {}", describe(verdict.target), outcome);
}

std::string describe(const std::vector<Verdict>& verdicts) {
  std::string text;
  for (const Verdict& verdict : verdicts) text += (text.empty() ? "" : ", ") + describe(verdict);
  return text;
}

/// "clock: 1545 to 1980 MHz", a line; nothing if nothing was read.
std::string describe(const char* what, const std::optional<Range>& range, const char* unit) {
  return range ? fmt::format("{}: {:.0f} to {:.0f} {}\n", what, range->least, range->most, unit) : "";
}

/// Without blanks at the end.
std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \n") + 1);
  return text;
}

}  // namespace

std::string Table::head() const {
  std::string text = fmt::format("{}, {}CUDA {} (the driver knows {}), arithmetic {}, {}\n", head_.gpu,
                                 head_.driver.empty() ? "" : "driver " + head_.driver + ", ", head_.cuda,
                                 head_.cuda_driver, head_.arithmetic, head_.date);
  text += fmt::format("peers: {}; medians of {} rounds in turns, L2 flushed; measured: copy {:.2f} TB/s",
                      head_.peers.empty() ? "none" : head_.peers, head_.rounds, 1e-12 * head_.rates.copy_bytes);
  if (head_.rates.bf16_flop > 0) text += fmt::format(", BF16 GEMM {:.0f} TFLOPS", 1e-12 * head_.rates.bf16_flop);
  if (head_.rates.fp8_flop > 0) text += fmt::format(", FP8 GEMM {:.0f} TFLOPS", 1e-12 * head_.rates.fp8_flop);
  return text + "\n" +
         fmt::format(columns, "family", "shape", "us", "rate", "share", "bound", "peer", "peer us", "ratio", "wanted");
}

std::string Table::line(const Row& row) const {
  const Bound bound = family_of(row).bound;
  const auto its_ratio = ratio(row);
  return trimmed(fmt::format(
             columns, row.family, row.shape, fmt::format("{:.1f}", row.us), describe_rate(row, bound),
             fmt::format("{:.1f} %", 100 * share(row)), name_of(bound), its_ratio ? row.peer : "-",
             its_ratio ? fmt::format("{:.1f}", row.peer_us) : "-", its_ratio ? fmt::format("{:.3f}", *its_ratio) : "-",
             describe(verdicts(row)))) +
         "\n";
}

std::string Table::wanted_of(const Family& family) const {
  std::string text = describe(verdicts(family));
  for (const Target& target : family.targets) {
    if (target.of_mean) continue;
    int rows = 0, met = 0;
    for (const Row& row : rows_) {
      if (row.family != family.name) continue;
      ++rows;
      for (const Verdict& verdict : verdicts(row)) {
        met += verdict.target.quantity == target.quantity && verdict.is_met();
      }
    }
    text += fmt::format("{}{}: {} of {}", text.empty() ? "" : ", ", describe(target), met, rows);
  }
  return text;
}

std::string Table::foot() const {
  std::string text =
      fmt::format("\n{:<27} {:>5} {:>7} {:>8}  {}\n", "geometric means", "rows", "ratio", "share", "wanted");
  for (const Family& family : families_) {
    const Means its = means(family);
    if (its.rows == 0) continue;
    text += trimmed(fmt::format("{:<27} {:>5} {:>7} {:>6.1f} %  {}", family.name, its.rows,
                                its.ratio ? fmt::format("{:.3f}", *its.ratio) : "-", 100 * its.share,
                                wanted_of(family))) +
            "\n";
  }
  text += describe("clock of the multiprocessors after each row", clock(), "MHz");
  return text + describe("power after each row", power(), "W");
}

}  // namespace troupe::deploy::kernel_bench
