#pragma once

#include "config/proto/model.pb.h"
#include "kernels/layers/params.h"

namespace troupe::runtime {

/// What the kernels know of a model. `model` must be valid.
kernels::ModelShape model_shape(const config::Model& model);

}  // namespace troupe::runtime
