#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace troupe::runtime {

/// Which source each sequence of a run is drawn from.
///
/// Among the first n sequences a source with share w has more than w n - 1 and less than w n + 1,
/// for every n. The j-th sequence of a source, j from 0, may be drawn from sequence floor(j / w) on
/// and must be before ceil((j + 1) / w); of the sources that may, the one that must soonest is
/// drawn, of equal ones the lower number. Earliest deadline first meets every deadline that can be
/// met, and these can: giving each source w of every sequence would meet them. The source furthest
/// behind, the simpler rule, may be more than a sequence late: with weights 100, 100, 10 and 3, for
/// one.
///
/// A function of the shares and the sequence's number. Safe to use from many threads.
class Mixture {
 public:
  struct Draw {
    std::uint32_t source;
    std::uint64_t index;  ///< the source's sequences before this one
  };

  /// `weights`: in [least_weight, most_weight], and shares are their ratios; a weight counts in
  /// millionths. Throws DataError if there is none, or one is out of range.
  explicit Mixture(std::span<const double> weights);

  static constexpr double least_weight = 1e-3, most_weight = 1e3;

  /// Sequences first .. first + count - 1.
  std::vector<Draw> draws(std::uint64_t first, std::uint64_t count);

  /// After so many sequences every source has exactly its share, and the order begins anew.
  std::uint64_t period() const { return period_; }

 private:
  using Counts = std::vector<std::uint64_t>;  // sequences of each source so far

  std::uint32_t source_of(std::uint64_t n, const Counts& counts) const;
  Counts counts_before(std::uint64_t n);

  std::vector<std::uint64_t> shares_;  // their sum is the period
  std::uint64_t period_ = 0;

  std::mutex mutex_;
  std::vector<Counts> blocks_;  // before every block_sequences-th of a period, as far as was asked
};

}  // namespace troupe::runtime
