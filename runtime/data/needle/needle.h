// Prompts that ask for needles in a haystack.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/data/needle/needle_words.h"
#include "runtime/data/tokenizer/tokenizer.h"

namespace troupe::runtime {

struct NeedlePrompt {
  std::vector<std::int32_t> tokens;  ///< bos if there is one, hay with needles, the question
  std::int64_t needle_at;            ///< the first token of the needle that stands at the depth
  std::vector<std::vector<std::int32_t>> candidates;  ///< distinct values; the first is right
};

struct NeedlePromptArgs {
  const Tokenizer& tokenizer;
  const NeedleForm& form;
  std::span<const std::int32_t> text;  ///< hay is cut from it, as from a ring; none: words by seed
  std::int64_t length;  ///< tokens of the longest prompt and its right value together
  double depth;         ///< 0: the needle comes first, 100: right before the question
  int needles;          ///< in the hay, at least 1: the others have other keys and values
  int questions;        ///< needles that are asked for, from 1 to all
  int candidates;       ///< at least 2; values of other needles come before those of none
  std::uint64_t seed;
  std::uint32_t trial;
};

/// One prompt for each needle that is asked for, all of them with the same hay: a haystack whose
/// needles are all found is one that was read to the end. A function of its arguments: the same
/// prompts for every model with this tokenizer, and the first is the same however many there are,
/// where all questions with their values are as long. The first needle stands at `depth` percent of
/// the places that it could stand at; where the others stand is drawn. Throws DataError if the
/// needles and a question do not fit into `length`, or there are fewer words than needles or
/// candidates, or fewer needles than questions.
std::vector<NeedlePrompt> make_needle_prompts(const NeedlePromptArgs& args);

}  // namespace troupe::runtime
