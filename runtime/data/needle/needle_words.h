// The words of needles in haystacks, how they are written, and how they are drawn.
//
// A needle is a key with its value, the hay any text around it, and the question the key alone, to
// which the value is the answer. Keys, values and the words of made-up hay are syllables of three
// sets that share none, so that a question has one answer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/random.h"

namespace troupe::runtime {

/// How needles and questions are written; {key} and {value} stand for the words. The answer to a
/// question is its value behind a space.
struct NeedleForm {
  std::string needle = " : {key} {value}";
  std::string question = " ? {key}";
};

/// Throws DataError if a needle lacks its key or value, or a question its key.
void check_form(const NeedleForm& form);

const std::vector<std::string>& needle_keys();
const std::vector<std::string>& needle_values();
const std::vector<std::string>& hay_words();

/// `form` with the words in their places.
std::string fill_needle_form(std::string form, const std::string& key, const std::string& value);

/// One random number after the other of a stream.
class NeedleDraw {
 public:
  NeedleDraw(std::uint64_t seed, std::uint32_t stream) : seed_(seed), stream_(stream) {}

  std::size_t below(std::size_t n);  ///< in [0, n)
  double uniform();                  ///< in [0, 1)

  /// `count` of the numbers [0, n), in an order that is drawn too.
  std::vector<std::size_t> some_of(std::size_t n, std::size_t count);

 private:
  kernels::RandomKey next();

  const std::uint64_t seed_;
  const std::uint32_t stream_;
  std::uint64_t position_ = 0;
};

struct NeedlePair {
  std::string key, value;
};

/// With different keys and different values.
std::vector<NeedlePair> draw_needle_pairs(NeedleDraw& draw, int count);

/// Throws DataError, calling the things `what`, unless least <= found <= most.
void check_needle_count(const char* what, int found, int least, std::size_t most);

}  // namespace troupe::runtime
