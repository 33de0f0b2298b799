// What the processes of a cluster share and nobody else knows.
#pragma once

#include <string>
#include <string_view>

namespace troupe::runtime {

class Secret {
 public:
  /// Throws ClusterError if it is shorter than 16 bytes.
  explicit Secret(std::string text);
  /// 32 bytes of the system's random source, in hexadecimal.
  static Secret random();

  const std::string& text() const { return text_; }

  /// HMAC-SHA256 (RFC 2104) over who speaks, the nonce of whoever listens, and what is said: nobody
  /// without the secret can make it, and it serves for nothing else.
  std::string prove(std::string_view speaker, std::string_view nonce, std::string_view what) const;
  /// Takes as long for any proof that is wrong.
  bool is_proof(std::string_view proof, std::string_view speaker, std::string_view nonce,
                std::string_view what) const;

 private:
  std::string text_;
};

/// Random bytes that nobody can foresee.
std::string random_nonce();
std::string hexadecimal(std::string_view bytes);

}  // namespace troupe::runtime
