// What was measured, as text and as JSON: a pure function of the figures.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "deploy/bench/kernels/families.h"
#include "deploy/bench/kernels/gpu_meter.h"

namespace troupe::deploy::kernel_bench {

/// What bounds kernels, measured in the same run; 0: no chosen family is bounded by it.
struct Rates {
  double copy_bytes;  ///< read and written a second
  double bf16_flop;   ///< a second
  double fp8_flop;
};

struct Head {
  std::string gpu;         ///< name, multiprocessors, memory
  std::string driver;      ///< of the system, as NVML has it; may be empty
  std::string cuda;        ///< "13.0", of the runtime that kernels were built with
  std::string cuda_driver; ///< "13.0", the newest that the driver knows
  std::string arithmetic;  ///< "sm_90a.1"
  std::string peers;       ///< "cuBLASLt 13.1.1"; empty: none were loaded
  std::string date;        ///< "2026-12-01T10:00:00Z"
  int rounds;
  Rates rates;
};

/// One shape of a family. Times are medians in microseconds.
struct Row {
  std::string family, shape;
  double us;
  double flop;             ///< of a call
  double bytes;            ///< of a call: every input and output once
  std::string peer = {};   ///< empty: it has none
  double peer_us = 0;
  GpuReading reading = {};  ///< the driver's last, which may be of some rows before: the table tells their range
};

/// Work a second of what bounds its family: flop, or bytes.
double rate(const Row& row, Bound bound);
/// The peer's time over ours; nothing without a peer.
std::optional<double> ratio(const Row& row);

/// A target and what there is of it; nothing where it was not measured.
struct Verdict {
  Target target;
  std::optional<double> found;
  bool is_met() const { return found && target.is_met_by(*found); }
};

struct Range {
  double least, most;
};

class Table {
 public:
  /// Rows are of these families alone.
  Table(Head head, std::vector<Family> families);

  void add(Row row);
  const std::vector<Row>& rows() const { return rows_; }

  double share(const Row& row) const;  ///< of the family's bound
  std::vector<Verdict> verdicts(const Row& row) const;

  std::string head() const;                ///< lines, and the names of the columns
  std::string line(const Row& row) const;  ///< with its end
  /// Geometric means of the families, their targets, and what clock and power were.
  std::string foot() const;
  nlohmann::ordered_json json() const;

 private:
  struct Means {
    int rows, rows_with_peer;
    std::optional<double> ratio;
    double share;
  };
  std::optional<Range> clock() const;  // of what was read, in MHz
  std::optional<Range> power() const;  // in watts
  const Family& family_of(const Row& row) const;
  double rate_of(Bound bound) const;
  Means means(const Family& family) const;
  std::vector<Verdict> verdicts(const Family& family) const;  // of its means
  std::string wanted_of(const Family& family) const;          // these, and how many rows meet what

  const Head head_;
  const std::vector<Family> families_;
  std::vector<Row> rows_;
};

}  // namespace troupe::deploy::kernel_bench
