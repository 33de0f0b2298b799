#include "runtime/error.h"

#include "runtime/type_ids.h"

namespace troupe::runtime {
namespace {

constexpr std::string_view names[] = {"ok",             "stale epoch",   "wrong step",
                                      "stopped on NaN", "kernel failed", "shutting down",
                                      "replay differs", "supervisor ended", "killed",
                                      "no progress",    "late",          "overloaded",
                                      "stopped on a loss spike", "damaged"};

}  // namespace

std::string to_string(Errc code) {
  const auto i = static_cast<size_t>(code);
  return std::string(i < std::size(names) ? names[i] : "unknown error");
}

bool from_text(std::string_view text, Errc& code) {
  for (size_t i = 0; i < std::size(names); ++i) {
    if (names[i] != text) continue;
    code = static_cast<Errc>(i);
    return true;
  }
  return false;
}

bool from_integer(uint8_t value, Errc& code) {
  if (value >= std::size(names)) return false;
  code = static_cast<Errc>(value);
  return true;
}

caf::error make_error(Errc code, std::string text) {
  return caf::make_error(code, std::move(text));
}

bool is_own(const caf::error& error) {
  return error.category() == caf::type_id_v<Errc>;
}

std::string describe(const caf::error& error) {
  const caf::message& context = error.context();
  if (context.size() == 1 && context.match_element<std::string>(0)) {
    return context.get_as<std::string>(0);
  }
  return caf::to_string(error);
}

}  // namespace troupe::runtime
