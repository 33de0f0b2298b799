// Token messages as units whose hashes are recorded (runtime/state/unit_file.h).
#pragma once

#include "actors/company.h"

namespace troupe::actors {

/// Records the payload of a message that is ready to be sent. What goes to or comes from experts is
/// recorded for each expert that has rows, so it does not show which shard holds whom.
void record_message(Company& company, const Address& from, const Address& to,
                    const TokenMessage& message);

/// Turns one bit of a tensor's first element around: a failpoint's fault of memory or transport.
void flip_bit(const kernels::Tensor& tensor);

}  // namespace troupe::actors
