#include "runtime/cluster/join/secret.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <utility>

#include "runtime/cluster/cluster_error.h"

namespace troupe::runtime {
namespace {

constexpr size_t shortest_secret = 16, nonce_bytes = 32;

/// Parts of any content do not run into each other.
void append(std::string& message, std::string_view part) {
  const uint64_t size = part.size();
  for (int i = 0; i < 8; ++i) message += static_cast<char>(size >> 8 * i);
  message += part;
}

}  // namespace

Secret::Secret(std::string text) : text_(std::move(text)) {
  if (text_.size() < shortest_secret) {
    throw ClusterError("found a cluster secret of " + std::to_string(text_.size()) +
                       " bytes, wanted " + std::to_string(shortest_secret) + " at least");
  }
}

Secret Secret::random() { return Secret(hexadecimal(random_nonce())); }

std::string Secret::prove(std::string_view speaker, std::string_view nonce,
                          std::string_view what) const {
  std::string message;
  for (const std::string_view part : {speaker, nonce, what}) append(message, part);
  unsigned char proof[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), text_.data(), static_cast<int>(text_.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), proof,
           &size) == nullptr) {
    throw ClusterError("cannot compute a proof of the cluster secret");
  }
  return {reinterpret_cast<const char*>(proof), size};
}

bool Secret::is_proof(std::string_view proof, std::string_view speaker, std::string_view nonce,
                      std::string_view what) const {
  const std::string wanted = prove(speaker, nonce, what);
  return proof.size() == wanted.size() &&
         CRYPTO_memcmp(proof.data(), wanted.data(), wanted.size()) == 0;
}

std::string random_nonce() {
  std::string nonce(nonce_bytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), nonce_bytes) != 1) {
    throw ClusterError("the system has no random bytes");
  }
  return nonce;
}

std::string hexadecimal(std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += digits[static_cast<unsigned char>(c) >> 4];
    text += digits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

}  // namespace troupe::runtime
