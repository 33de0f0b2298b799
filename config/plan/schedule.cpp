#include "config/plan/schedule.h"

#include <algorithm>

#include "config/errors.h"

namespace troupe::config {

std::vector<Operation> one_f_one_b(const ScheduleArgs& args) {
  if (args.stages < 1 || args.stage < 0 || args.stage >= args.stages) {
    throw ConfigError(describe(
        {"", "stage", std::to_string(args.stage), "0 to " + std::to_string(args.stages - 1)}));
  }
  const size_t count = args.micro_batches.size();
  const size_t ahead = std::min(count, static_cast<size_t>(args.stages - args.stage - 1));
  std::vector<Operation> operations;
  operations.reserve(2 * count);
  for (size_t i = 0; i < ahead; ++i) {
    operations.push_back({Operation::Kind::forward, args.micro_batches[i]});
  }
  for (size_t i = ahead; i < count; ++i) {
    operations.push_back({Operation::Kind::forward, args.micro_batches[i]});
    operations.push_back({Operation::Kind::backward, args.micro_batches[i - ahead]});
  }
  for (size_t i = count - ahead; i < count; ++i) {
    operations.push_back({Operation::Kind::backward, args.micro_batches[i]});
  }
  return operations;
}

int largest_live(std::span<const Operation> operations) {
  int live = 0;
  int largest = 0;
  for (const Operation& operation : operations) {
    live += operation.kind == Operation::Kind::forward ? 1 : -1;
    largest = std::max(largest, live);
  }
  return largest;
}

}  // namespace troupe::config
