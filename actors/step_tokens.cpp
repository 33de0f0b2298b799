// A step's tokens between processes.
#include <cstring>

#include "actors/interfaces.h"

namespace troupe::actors {
namespace {

std::string bytes_of(const kernels::Buffer& tokens) {
  return {static_cast<const char*>(tokens.view.data), static_cast<size_t>(tokens.view.count()) * 4};
}

kernels::Buffer tokens_of(const std::string& bytes) {
  kernels::Buffer buffer =
      kernels::allocate_shared(kernels::DType::i32, {static_cast<int64_t>(bytes.size() / 4)});
  std::memcpy(buffer.view.data, bytes.data(), bytes.size() / 4 * 4);
  return buffer;
}

bool is_good(const wire::TokenMicroBatch& m) {
  if (m.rows() == 0) return m.inputs().empty() && m.targets().empty();
  return m.rows() > 0 && m.inputs().size() == m.targets().size() && !m.inputs().empty() &&
         m.inputs().size() % 4 == 0 &&
         static_cast<int64_t>(m.inputs().size() / 4) % m.rows() == 0;
}

}  // namespace

std::string to_bytes(const StepTokens& tokens) {
  wire::StepTokens message;
  if (tokens.micro_batches) {
    for (const MicroBatch& m : *tokens.micro_batches) {
      wire::TokenMicroBatch& out = *message.add_micro_batches();
      if (!m.inputs) continue;
      out.set_rows(m.rows);
      out.set_inputs(bytes_of(m.inputs));
      out.set_targets(bytes_of(m.targets));
    }
  }
  return message.SerializeAsString();
}

StepTokens tokens_from(std::string_view bytes) {
  wire::StepTokens message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return {};
  auto micro_batches = std::make_shared<std::vector<MicroBatch>>();
  for (const wire::TokenMicroBatch& m : message.micro_batches()) {
    if (!is_good(m)) return {};
    MicroBatch& out = micro_batches->emplace_back();
    if (m.rows() > 0) out = {tokens_of(m.inputs()), tokens_of(m.targets()), m.rows()};
  }
  return {std::move(micro_batches)};
}

}  // namespace troupe::actors
