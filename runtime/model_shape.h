#pragma once

#include "config/proto/model.pb.h"
#include "kernels/layers/params.h"

namespace troupe::runtime {

/// YaRN as the kernels take it. `yarn` must be valid.
kernels::Yarn kernel_yarn(const config::Yarn& yarn);

/// What the kernels know of a model. `model` must be valid.
kernels::ModelShape model_shape(const config::Model& model);

}  // namespace troupe::runtime
