#include "runtime/state/unit_file.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <tuple>
#include <vector>

#include "runtime/checkpoint/files.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;
using wire::StepUnits;
using wire::UnitHash;

constexpr uint64_t largest_file = 1u << 30;

/// Backward goes down the layers, and in each of them through the experts first.
auto order_of(const UnitHash& unit) {
  const bool is_backward = unit.kind() == UnitHash::BACKWARD_MESSAGE;
  const int edge = unit.edge();
  const bool is_attention = edge <= UnitHash::FROM_ATTENTION;
  const int64_t layer = unit.layer();
  return std::tuple(static_cast<int>(unit.kind()), unit.micro_batch(),
                    is_backward ? -layer : layer, is_backward && is_attention ? edge + 6 : edge,
                    unit.tensor(), unit.part());
}

std::string edge_of(const UnitHash& unit) {
  switch (unit.edge()) {
    case UnitHash::TO_ATTENTION: return "to attention";
    case UnitHash::FROM_ATTENTION: return "from attention";
    case UnitHash::TO_ROUTER: return "to router";
    case UnitHash::TO_EXPERT: return "to expert " + std::to_string(unit.part());
    case UnitHash::FROM_EXPERT: return "from expert " + std::to_string(unit.part());
    case UnitHash::FROM_ROUTER: return "from router";
    default: return "by an unknown edge";
  }
}

std::string hex(uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

void check(const StepUnits& step, const std::string& name) {
  const auto refuse = [&](int at, const std::string& what) {
    throw UnitError(name + ": unit " + std::to_string(at) + " " + what);
  };
  for (int i = 0; i < step.units_size(); ++i) {
    const UnitHash& unit = step.units(i);
    if (!UnitHash::Kind_IsValid(unit.kind()) || !UnitHash::Edge_IsValid(unit.edge())) {
      refuse(i, "has kind " + std::to_string(unit.kind()) + " and edge " +
                    std::to_string(unit.edge()) + ", wanted known ones");
    }
    const bool has_tensor = unit.kind() != UnitHash::FORWARD_MESSAGE &&
                            unit.kind() != UnitHash::BACKWARD_MESSAGE;
    const auto tensors = static_cast<uint32_t>(step.tensors_size());
    if (has_tensor && unit.tensor() >= tensors) {
      refuse(i, "is of tensor " + std::to_string(unit.tensor()) + ", wanted one of " +
                    std::to_string(tensors));
    }
    if (i > 0 && !is_before(step.units(i - 1), unit)) refuse(i, "is out of order");
  }
}

}  // namespace

bool is_before(const UnitHash& a, const UnitHash& b) { return order_of(a) < order_of(b); }

std::string describe(const UnitHash& unit, const StepUnits& step) {
  const auto tensor = [&] {
    const auto index = static_cast<int>(unit.tensor());
    return index < step.tensors_size() ? step.tensors(index) : "tensor " + std::to_string(index);
  };
  const std::string micro_batch = "micro-batch " + std::to_string(unit.micro_batch());
  const std::string block = ", block " + std::to_string(unit.part());
  switch (unit.kind()) {
    case UnitHash::WEIGHTS: return "weights " + tensor() + block;
    case UnitHash::FORWARD_MESSAGE:
    case UnitHash::BACKWARD_MESSAGE:
      return std::string("message ") +
             (unit.kind() == UnitHash::FORWARD_MESSAGE ? "forward, " : "backward, ") + micro_batch +
             ", layer " + std::to_string(unit.layer()) + ", " + edge_of(unit);
    case UnitHash::GRADIENT:
      return "gradient " + tensor() + ", " + micro_batch +
             (unit.part() == 0 ? "" : ", MTP module " + std::to_string(unit.part() - 1));
    case UnitHash::GRADIENT_SUM: return "gradient sum " + tensor() + block;
    default: return "unit of unknown kind";
  }
}

std::string first_difference(const StepUnits& recorded, const StepUnits& now) {
  int r = 0, n = 0;
  while (r < recorded.units_size() || n < now.units_size()) {
    const UnitHash* a = r < recorded.units_size() ? &recorded.units(r) : nullptr;
    const UnitHash* b = n < now.units_size() ? &now.units(n) : nullptr;
    if (!b || (a && is_before(*a, *b))) {
      return describe(*a, recorded) + ": recorded " + hex(a->hash()) + ", now there is none";
    }
    if (!a || is_before(*b, *a)) {
      return describe(*b, now) + ": none was recorded, now " + hex(b->hash());
    }
    if (a->hash() != b->hash()) {
      return describe(*a, recorded) + ": recorded " + hex(a->hash()) + ", now " + hex(b->hash());
    }
    ++r, ++n;
  }
  return {};
}

std::string frame_units(const StepUnits& step) {
  const std::string message = step.SerializeAsString();
  const uint64_t hash = XXH3_64bits(message.data(), message.size());
  std::string bytes(sizeof hash, '\0');
  std::memcpy(bytes.data(), &hash, sizeof hash);
  return bytes + message;
}

StepUnits parse_units(std::string_view bytes, const std::string& name) {
  uint64_t hash = 0;
  StepUnits step;
  const std::string_view message = bytes.substr(std::min(bytes.size(), sizeof hash));
  const bool is_whole = bytes.size() >= sizeof hash && bytes.size() <= largest_file &&
                        (std::memcpy(&hash, bytes.data(), sizeof hash), true) &&
                        XXH3_64bits(message.data(), message.size()) == hash &&
                        step.ParseFromArray(message.data(), static_cast<int>(message.size()));
  if (!is_whole) throw UnitError(name + " is damaged");
  if (step.format() != 1) {
    throw UnitError(name + " is of format " + std::to_string(step.format()) + ", wanted 1");
  }
  check(step, name);
  return step;
}

fs::path unit_file(const fs::path& folder, uint64_t step) {
  return folder / ("step-" + std::to_string(step));
}

void write_units(const fs::path& folder, const StepUnits& step) {
  const fs::path path = unit_file(folder, step.step());
  if (fs::exists(path)) return;
  std::error_code error;
  fs::create_directories(folder, error);  // a failure shows when the file is made
  const fs::path partial = partial_path(path);
  try {
    write_file(partial, frame_units(step));
    publish(partial, path);
  } catch (const std::runtime_error&) {
    fs::remove(partial, error);
    throw;
  }
}

StepUnits read_units(const fs::path& folder, uint64_t step) {
  const fs::path path = unit_file(folder, step);
  StepUnits units = parse_units(read_file(path, largest_file), path.string());
  if (units.step() != step) {
    throw UnitError(path.string() + " is that of step " + std::to_string(units.step()));
  }
  return units;
}

void drop_units(const fs::path& folder, uint64_t step) {
  std::error_code error;
  std::vector<fs::path> over;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    uint64_t number = 0;
    if (!name.starts_with("step-")) continue;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + 5, end, number);
    // Behind the number of a file that was never named stands the process that died over it.
    if (parsed.ec == std::errc() && number <= step) over.push_back(entry.path());
  }
  for (const fs::path& path : over) fs::remove(path, error);
}

}  // namespace troupe::runtime
