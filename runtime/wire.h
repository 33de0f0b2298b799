// What messages carry: Protobuf messages (everything that may cross a process), and tensors beside
// them, which the data plane moves.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/queue.h"
#include "runtime/caf_shim.h"
#include "runtime/proto/events.pb.h"
#include "runtime/proto/journal.pb.h"
#include "runtime/proto/step.pb.h"

namespace troupe::runtime {

/// A Protobuf message in a mailbox. Inside a process the pointer travels; between processes its
/// bytes do.
template <class Message>
struct Pb {
  std::shared_ptr<const Message> message;

  Pb() = default;
  Pb(Message m) : message(std::make_shared<const Message>(std::move(m))) {}  // NOLINT: implicit
  const Message* operator->() const { return message.get(); }
  const Message& operator*() const { return *message; }
};

template <class Inspector, class Message>
bool inspect(Inspector& f, Pb<Message>& x) {
  const auto get = [&x] {
    return x.message ? x.message->SerializeAsString() : std::string();
  };
  const auto set = [&x](const std::string& bytes) {
    auto parsed = std::make_shared<Message>();
    if (!parsed->ParseFromString(bytes)) return false;
    x.message = std::move(parsed);
    return true;
  };
  return f.object(x).fields(f.field("pb", get, set));
}

/// A tensor together with what keeps its memory alive.
struct TensorRef {
  kernels::Tensor view;
  std::shared_ptr<const void> owner;

  operator kernels::ConstTensor() const { return view; }
};

/// A message of work: its header, and tensors that are ready to be read.
struct TokenMessage {
  Pb<wire::TokenHeader> header;
  std::vector<TensorRef> tensors;
  kernels::MarkPtr ready = nullptr;  ///< the tensors are ready where the GPU has passed it; null: they are

  const wire::UnitId& id() const { return header->id(); }
};

}  // namespace troupe::runtime
