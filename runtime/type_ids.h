// CAF's type numbers of what the runtime adds. They are the wire identity: only append.
#pragma once

#include "runtime/caf_shim.h"
#include "runtime/error.h"
#include "runtime/wire.h"

CAF_BEGIN_TYPE_ID_BLOCK(troupe_runtime, caf::first_custom_type_id)
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Errc))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::TokenHeader>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::BeginStep>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::StepReport>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::Prepared>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::StepRecord>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::Applied>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::StepDone>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::Evaluation>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::TokenMessage))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::JournalEntry>))
  CAF_ADD_TYPE_ID(troupe_runtime, (troupe::runtime::Pb<troupe::wire::Event>))
CAF_END_TYPE_ID_BLOCK(troupe_runtime)

CAF_ERROR_CODE_ENUM(troupe::runtime::Errc)
// Its tensors go by the data plane, never through CAF's serialisation.
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::runtime::TokenMessage)
