// The hashes of a step's units: raw bytes, and a message under a hash that is right.
#include <xxhash.h>

#include <cstdlib>

#include "runtime/state/unit_file.h"

using namespace troupe;

/// What is parsed can be named, differs from itself in nothing, and from another where it says.
static void parse(const std::string& bytes) {
  try {
    const wire::StepUnits step = runtime::parse_units(bytes, "units/step-1");
    for (const wire::UnitHash& unit : step.units()) runtime::describe(unit, step);
    if (!runtime::first_difference(step, step).empty()) std::abort();
    const bool is_empty = step.units_size() == 0;
    if (runtime::first_difference(step, {}).empty() != is_empty) std::abort();
    if (runtime::first_difference({}, step).empty() != is_empty) std::abort();
  } catch (const runtime::UnitError&) {
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string message(reinterpret_cast<const char*>(data), size);
  parse(message);
  const uint64_t hash = XXH3_64bits(data, size);
  parse(std::string(reinterpret_cast<const char*>(&hash), sizeof hash) + message);
  return 0;
}
