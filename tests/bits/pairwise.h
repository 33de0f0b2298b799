// Few combinations of choices in which every two choices meet.
#pragma once

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>
#include <vector>

namespace troupe::tests {

/// One value's index for each dimension.
using Choice = std::vector<size_t>;

/// All combinations that are legal, the last dimension changing fastest.
inline std::vector<Choice> all_choices(const std::vector<size_t>& sizes,
                                       const std::function<bool(const Choice&)>& is_legal) {
  std::vector<Choice> all;
  Choice choice(sizes.size(), 0);
  while (true) {
    if (is_legal(choice)) all.push_back(choice);
    size_t d = sizes.size();
    while (d > 0 && ++choice[d - 1] == sizes[d - 1]) choice[--d] = 0;
    if (d == 0) return all;
  }
}

/// (dimension, value, dimension, value) that a choice brings together.
using Meeting = std::tuple<size_t, size_t, size_t, size_t>;
inline std::set<Meeting> meetings(const Choice& choice) {
  std::set<Meeting> met;
  for (size_t a = 0; a < choice.size(); ++a) {
    for (size_t b = a + 1; b < choice.size(); ++b) met.insert({a, choice[a], b, choice[b]});
  }
  return met;
}

/// Greedily: each next one is the first of those that bring together most pairs that have not met.
inline std::vector<Choice> greedy_pairwise(const std::vector<Choice>& legal) {
  std::vector<std::set<Meeting>> met;
  std::set<Meeting> missing;
  for (const Choice& choice : legal) {
    met.push_back(meetings(choice));
    missing.insert(met.back().begin(), met.back().end());
  }
  std::vector<Choice> chosen;
  while (!missing.empty()) {
    size_t best = 0, most = 0;
    for (size_t i = 0; i < legal.size(); ++i) {
      const auto n = static_cast<size_t>(std::count_if(
          met[i].begin(), met[i].end(), [&](const Meeting& one) { return missing.contains(one); }));
      if (n > most) {
        most = n;
        best = i;
      }
    }
    for (const Meeting& one : met[best]) missing.erase(one);
    chosen.push_back(legal[best]);
  }
  return chosen;
}

/// The fewest of what the greedy search finds from several beginnings.
inline std::vector<Choice> pairwise(std::vector<Choice> legal) {
  constexpr size_t beginnings = 8;
  std::vector<Choice> fewest;
  const size_t step = std::max<size_t>(1, legal.size() / beginnings);
  for (size_t i = 0; i < beginnings; ++i) {
    std::vector<Choice> found = greedy_pairwise(legal);
    if (fewest.empty() || found.size() < fewest.size()) fewest = std::move(found);
    std::rotate(legal.begin(), legal.begin() + static_cast<long>(step % legal.size()), legal.end());
  }
  return fewest;
}

}  // namespace troupe::tests
