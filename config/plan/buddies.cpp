#include "config/plan/buddies.h"

namespace troupe::config {

int buddies_on_one_machine(const std::vector<std::string>& machines, int stride) {
  int count = 0;
  for (size_t p = 0; p < machines.size(); ++p) {
    if (machines[p] == machines[(p + static_cast<size_t>(stride)) % machines.size()]) ++count;
  }
  return count;
}

int buddy_stride(const std::vector<std::string>& machines) {
  int best = 1, fewest = buddies_on_one_machine(machines, 1);
  for (int stride = 2; stride < static_cast<int>(machines.size()) && fewest > 0; ++stride) {
    const int count = buddies_on_one_machine(machines, stride);
    if (count < fewest) {
      fewest = count;
      best = stride;
    }
  }
  return best;
}

}  // namespace troupe::config
