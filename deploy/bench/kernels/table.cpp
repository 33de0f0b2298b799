#include "deploy/bench/kernels/table.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace troupe::deploy::kernel_bench {
namespace {

nlohmann::ordered_json to_json(const std::vector<Verdict>& verdicts) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Verdict& verdict : verdicts) {
    nlohmann::ordered_json each{{"of", name_of(verdict.target.quantity)}, {"wanted", verdict.target.wanted}};
    if (verdict.found) {
      each["found"] = *verdict.found;
      each["met"] = verdict.is_met();
    }
    json.push_back(std::move(each));
  }
  return json;
}

/// Of get(reading) of the rows that have one.
template <class Get>
std::optional<Range> range_of(const std::vector<Row>& rows, Get get) {
  std::optional<Range> range;
  for (const Row& row : rows) {
    const auto value = get(row.reading);
    if (!value) continue;
    const auto its = static_cast<double>(*value);
    range = range ? Range{std::min(range->least, its), std::max(range->most, its)} : Range{its, its};
  }
  return range;
}

}  // namespace

double rate(const Row& row, Bound bound) { return (bound == Bound::copy ? row.bytes : row.flop) / row.us * 1e6; }

std::optional<double> ratio(const Row& row) {
  if (row.peer_us <= 0) return std::nullopt;
  return row.peer_us / row.us;
}

Table::Table(Head head, std::vector<Family> families) : head_(std::move(head)), families_(std::move(families)) {}

void Table::add(Row row) {
  family_of(row);
  rows_.push_back(std::move(row));
}

const Family& Table::family_of(const Row& row) const {
  for (const Family& family : families_) {
    if (family.name == row.family) return family;
  }
  throw std::logic_error("a row of the family '" + row.family + "', which the table does not have");
}

double Table::rate_of(Bound bound) const {
  switch (bound) {
    case Bound::copy:
      return head_.rates.copy_bytes;
    case Bound::bf16_products:
      return head_.rates.bf16_flop;
    case Bound::fp8_products:
      return head_.rates.fp8_flop;
  }
  return 0;
}

double Table::share(const Row& row) const {
  const Bound bound = family_of(row).bound;
  return rate(row, bound) / rate_of(bound);
}

std::vector<Verdict> Table::verdicts(const Row& row) const {
  std::vector<Verdict> verdicts;
  for (const Target& target : family_of(row).targets) {
    if (target.of_mean) continue;
    const auto found = [&]() -> std::optional<double> {
      switch (target.quantity) {
        case Quantity::ratio:
          return ratio(row);
        case Quantity::share:
          return share(row);
        case Quantity::tflops:
          return row.flop / row.us * 1e-6;
        case Quantity::terabytes_a_second:
          return row.bytes / row.us * 1e-6;
        case Quantity::microseconds:
          return row.us;
      }
      return std::nullopt;
    };
    verdicts.push_back({target, found()});
  }
  return verdicts;
}

Table::Means Table::means(const Family& family) const {
  Means means{0, 0, std::nullopt, 0};
  double ratios = 0, shares = 0;
  for (const Row& row : rows_) {
    if (row.family != family.name) continue;
    ++means.rows;
    shares += std::log(share(row));
    const auto its = ratio(row);
    means.rows_with_peer += its.has_value();
    ratios += its ? std::log(*its) : 0;
  }
  if (means.rows > 0) means.share = std::exp(shares / means.rows);
  if (means.rows_with_peer > 0) means.ratio = std::exp(ratios / means.rows_with_peer);
  return means;
}

std::vector<Verdict> Table::verdicts(const Family& family) const {
  const Means its = means(family);
  std::vector<Verdict> verdicts;
  for (const Target& target : family.targets) {
    if (!target.of_mean) continue;
    // Of shapes that the peer does not offer the mean would be another one.
    const bool has_all = its.rows_with_peer == its.rows;
    verdicts.push_back({target, target.quantity == Quantity::share ? std::optional(its.share)
                                : has_all                          ? its.ratio
                                                                   : std::nullopt});
  }
  return verdicts;
}

std::optional<Range> Table::clock() const {
  return range_of(rows_, [](const GpuReading& reading) { return reading.sm_mhz; });
}
std::optional<Range> Table::power() const {
  return range_of(rows_, [](const GpuReading& reading) { return reading.watts; });
}

nlohmann::ordered_json Table::json() const {
  nlohmann::ordered_json json{{"gpu", head_.gpu},
                              {"driver", head_.driver},
                              {"cuda", head_.cuda},
                              {"cuda_driver", head_.cuda_driver},
                              {"arithmetic", head_.arithmetic},
                              {"peers", head_.peers},
                              {"date", head_.date},
                              {"rounds", head_.rounds},
                              {"copy_bytes_a_second", head_.rates.copy_bytes}};
  if (head_.rates.bf16_flop > 0) json["bf16_flop_a_second"] = head_.rates.bf16_flop;
  if (head_.rates.fp8_flop > 0) json["fp8_flop_a_second"] = head_.rates.fp8_flop;
  if (const auto its = clock()) json["sm_mhz"] = {its->least, its->most};
  if (const auto its = power()) json["watts"] = {its->least, its->most};
  json["families"] = nlohmann::ordered_json::array();
  json["rows"] = nlohmann::ordered_json::array();
  for (const Family& family : families_) {
    const Means its = means(family);
    if (its.rows == 0) continue;
    nlohmann::ordered_json each{{"family", family.name}, {"rows", its.rows}, {"share", its.share}};
    if (its.ratio) each["ratio"] = *its.ratio;
    each["targets"] = to_json(verdicts(family));
    json["families"].push_back(std::move(each));
  }
  for (const Row& row : rows_) {
    nlohmann::ordered_json each{{"family", row.family}, {"shape", row.shape},  {"us", row.us},
                                {"flop", row.flop},     {"bytes", row.bytes},  {"bound", name_of(family_of(row).bound)},
                                {"share", share(row)}};
    if (const auto its = ratio(row)) {
      each["peer"] = row.peer;
      each["peer_us"] = row.peer_us;
      each["ratio"] = *its;
    }
    each["targets"] = to_json(verdicts(row));
    json["rows"].push_back(std::move(each));
  }
  return json;
}

}  // namespace troupe::deploy::kernel_bench
