// The two ends of the way from one plane to another: what leaves when, and what has arrived whole.
// Knows no transport and no threads.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/data_plane/parcel_format.h"

namespace troupe::runtime {

/// The sender's end. Lets go what has credit, in order, and remembers the letters of what the
/// receiver has not confirmed.
class OutgoingEdge {
 public:
  OutgoingEdge(uint64_t credit_parcels, uint64_t credit_bytes)
      : credit_parcels_(credit_parcels), credit_bytes_(credit_bytes) {}

  /// True if the parcel has to wait.
  bool submit(PackedParcel parcel);

  /// The next parcel that may leave. One that is larger than the credit leaves when nothing is
  /// under way.
  std::optional<PackedParcel> next();

  /// False if no parcel of this number is under way.
  bool confirm(uint64_t number);

  /// Letters of all that is not confirmed, in order; nothing is left.
  std::vector<std::string> take_letters();

 private:
  struct UnderWay {
    std::string letter;
    uint64_t bytes;
  };

  bool has_credit_for(const PackedParcel& parcel) const;

  const uint64_t credit_parcels_, credit_bytes_;
  uint64_t last_number_ = 0;
  uint64_t bytes_under_way_ = 0;
  std::map<uint64_t, UnderWay> under_way_;
  std::deque<PackedParcel> waiting_;
};

/// The receiver's end. Puts parcels together, in whatever order their parts arrive.
class IncomingEdge {
 public:
  struct Whole {
    uint64_t number;
    Parcel parcel;
  };

  /// The packed part. Throws DataPlaneError if it does not fit to what came before.
  std::optional<Whole> add(uint64_t number, UnpackedParcel parcel);

  /// A tensor that came by itself: its memory and its bytes. Throws as above.
  std::optional<Whole> add(uint64_t number, uint32_t index, TensorRef memory, uint64_t bytes);

 private:
  struct Part {
    TensorRef memory;
    uint64_t bytes;
  };
  struct Partial {
    std::optional<UnpackedParcel> packed;
    std::map<uint32_t, Part> tensors;
  };

  std::optional<Whole> finish(uint64_t number, Partial& partial);

  std::map<uint64_t, Partial> partial_;
};

}  // namespace troupe::runtime
