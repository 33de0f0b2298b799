// What this process has of the machine's memory.
#pragma once

#include <cstdint>

namespace troupe::deploy {

/// Bytes of pages that are in memory now; 0 where the system does not say.
int64_t resident_bytes();

/// The most of them since the process began, or since the peak was forgotten; likewise.
int64_t resident_peak_bytes();

/// What malloc keeps of freed memory goes back to the system: behind work that has made and freed
/// much, and before what is to last.
void give_back_freed_memory();

/// From now on the peak is that from now on. Before that, what was freed and kept goes back to the
/// system, so that it does not count.
void forget_resident_peak();

}  // namespace troupe::deploy
