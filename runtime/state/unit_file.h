// units/step-N of a run folder: the hashes of everything that step N was computed from, by unit of
// work (law 3). They name what was computed and not who did, so any layout writes the same file.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runtime/proto/units.pb.h"

namespace troupe::runtime {

class UnitError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Whether a comes before b in the order of computation: the weights, then messages forward by
/// micro-batch, layer and edge, then backward, then units of gradients, then their sums.
bool is_before(const wire::UnitHash& a, const wire::UnitHash& b);

/// "message forward, micro-batch 3, layer 5, from router". `step` knows the tensors' names.
std::string describe(const wire::UnitHash& unit, const wire::StepUnits& step);

/// The first unit, in the order of computation, whose hash `now` is not the recorded one: its
/// description and both hashes. Empty: there is none.
std::string first_difference(const wire::StepUnits& recorded, const wire::StepUnits& now);

/// The bytes of a file: xxh3 of the message (u64, little-endian), then the message.
std::string frame_units(const wire::StepUnits& step);

/// Throws UnitError unless the bytes are whole, of format 1, and its units are known ones in order,
/// of tensors that are listed. `name` stands for the file in messages.
wire::StepUnits parse_units(std::string_view bytes, const std::string& name);

std::filesystem::path unit_file(const std::filesystem::path& folder, uint64_t step);

/// Makes `folder`/step-N, durable and whole or not at all. One that is there already stays: it is
/// what the step was when it was done first. Throws CheckpointError.
void write_units(const std::filesystem::path& folder, const wire::StepUnits& step);

/// Throws UnitError or CheckpointError, also when the file is that of another step.
wire::StepUnits read_units(const std::filesystem::path& folder, uint64_t step);

/// Removes the files of steps up to `step`: no checkpoint before them is left to do them again.
void drop_units(const std::filesystem::path& folder, uint64_t step);

}  // namespace troupe::runtime
