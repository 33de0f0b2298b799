// Why a child ended, in OTP's words.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace troupe::runtime {

/// `shutdown` with a text is OTP's {shutdown, Term}: as orderly, but not what was asked of a
/// permanent child.
struct ExitReason {
  enum class Kind : uint8_t { normal, shutdown, killed, failure };
  Kind kind = Kind::normal;
  std::string text;

  static ExitReason normal() { return {Kind::normal, {}}; }
  static ExitReason shutdown(std::string text = {}) { return {Kind::shutdown, std::move(text)}; }
  static ExitReason killed() { return {Kind::killed, {}}; }
  static ExitReason failure(std::string text) { return {Kind::failure, std::move(text)}; }

  /// True if a transient child that ends so is not restarted.
  bool is_orderly() const { return kind == Kind::normal || kind == Kind::shutdown; }

  auto operator<=>(const ExitReason&) const = default;
};

std::string to_string(const ExitReason& reason);

}  // namespace troupe::runtime
