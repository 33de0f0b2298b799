#include "runtime/data/tokenizer/pre_tokenizer.h"

#include <algorithm>

namespace troupe::runtime {
namespace {

/// Source: GPT-2's encoder.py; the pattern of ByteLevel with use_regex.
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Joins each match with the part before it; a match that follows a match stays alone.
std::vector<TextPart> merge_with_previous(const std::vector<TextPart>& parts) {
  std::vector<TextPart> merged;
  bool previous_match = false;
  for (const TextPart& part : parts) {
    if (part.is_match && !previous_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  return merged;
}

/// Joins each match with the part behind it: the mirror image.
std::vector<TextPart> merge_with_next(const std::vector<TextPart>& parts) {
  std::vector<TextPart> merged;
  bool previous_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !previous_match && !merged.empty()) {
      merged.back().begin = part->begin;
    } else {
      merged.push_back(*part);
    }
    previous_match = part->is_match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

/// Joins neighbours of one kind.
std::vector<TextPart> merge_contiguous(const std::vector<TextPart>& parts) {
  std::vector<TextPart> merged;
  bool previous_match = false;
  for (const TextPart& part : parts) {
    if (part.is_match == previous_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  return merged;
}

}  // namespace

void SplitStep::apply(std::string_view text, std::vector<std::string_view>& pieces) const {
  thread_local std::vector<TextPart> found;
  pattern.split(text, found);
  if (invert) {
    for (TextPart& part : found) part.is_match = !part.is_match;
  }
  std::vector<TextPart> merged;
  if (behavior == SplitBehavior::merged_with_previous) merged = merge_with_previous(found);
  if (behavior == SplitBehavior::merged_with_next) merged = merge_with_next(found);
  if (behavior == SplitBehavior::contiguous) merged = merge_contiguous(found);
  const bool is_merged = behavior != SplitBehavior::isolated && behavior != SplitBehavior::removed;
  for (const TextPart& part : is_merged ? merged : found) {
    if (part.begin == part.end) continue;
    if (behavior == SplitBehavior::removed && part.is_match) continue;
    pieces.push_back(text.substr(part.begin, part.end - part.begin));
  }
}

PreTokenizer::PreTokenizer(Args args)
    : steps_(std::move(args.steps)), add_prefix_space_(args.add_prefix_space) {
  if (args.byte_level_regex) {
    byte_level_.push_back({.pattern = Regex(gpt2_pattern, "ByteLevel"),
                           .behavior = SplitBehavior::isolated,
                           .invert = false});
  }
}

Words PreTokenizer::split(std::string_view text) const {
  Words words;
  if (text.empty()) return words;
  words.views.push_back(text);
  std::vector<std::string_view> pieces;
  const auto apply = [&](const SplitStep& step) {
    pieces.clear();
    for (const std::string_view piece : words.views) step.apply(piece, pieces);
    words.views.swap(pieces);
  };
  for (const SplitStep& step : steps_) apply(step);
  if (add_prefix_space_) {
    for (std::string_view& piece : words.views) {
      if (piece.starts_with(' ')) continue;
      piece = words.owned.emplace_back(" " + std::string(piece));
    }
  }
  for (const SplitStep& step : byte_level_) apply(step);
  return words;
}

}  // namespace troupe::runtime
