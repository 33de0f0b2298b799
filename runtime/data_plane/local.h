// Planes inside one process: tensors travel as pointers. For companies that share a process, as tests
// have them; between processes see make_ucx_plane.
#pragma once

#include "runtime/data_plane/data_plane.h"

namespace troupe::runtime {

/// A parcel is received on the sender's thread, before send() returns. Its peers are planes made here.
std::unique_ptr<DataPlane> make_local_plane(PlaneEvents events);

}  // namespace troupe::runtime
