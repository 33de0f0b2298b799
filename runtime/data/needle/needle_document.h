// Documents that a model learns to find needles from.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/data/needle/needle_words.h"

namespace troupe::runtime {

struct NeedleDocumentArgs {
  const NeedleForm& form;
  std::int64_t length;  ///< words, those of needles and questions too
  int needles;          ///< at most so many, at least one
  int questions;        ///< at most so many for each needle, at least one
  double repeats;       ///< share, in [0, 1], of documents without needles: see below
  std::uint64_t seed;
  std::uint32_t number;  ///< of the document
};

/// A document to train on: needles and, behind each, questions with their answers, among made-up
/// hay. How many there are is drawn, and where; what does not fit is left out. A share of the
/// documents is a row of different words again and again instead, in which every word can be hay:
/// it takes looking back to tell what comes next. Throws DataError if not one needle with its
/// question fits.
std::string make_needle_document(const NeedleDocumentArgs& args);

}  // namespace troupe::runtime
