// The bytes of a journal file, apart from files: a pure parser and writer.
//
// A file is the 8 bytes "TRPJRNL1", then records: payload length (u32), chain hash (u64), payload
// (a wire.JournalEntry). The chain hash is xxh3 of the payload, seeded with the chain hash before
// it (0 at first). All numbers little-endian.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/proto/journal.pb.h"

namespace troupe::runtime {

class JournalError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// The disk, or what this user may have of it, is full.
class JournalFull : public JournalError {
 public:
  using JournalError::JournalError;
};

struct ParsedJournal {
  std::vector<wire::JournalEntry> entries;
  uint64_t valid_bytes = 0;  ///< up to here the file is whole
  uint64_t chain = 0;        ///< chain hash there
  bool is_torn = false;      ///< an unfinished record stood behind it: an append that was cut off
};

/// Parses a file's bytes; `name` stands for it in messages. A record that is cut off by the end of
/// the file, or is the last one and damaged, or is followed by zeros alone, is a torn tail. Damage
/// before whole bytes is an error with its offset.
ParsedJournal parse_journal(std::span<const uint8_t> bytes, const std::string& name);

std::string journal_magic();

/// A record's bytes; `chain` becomes its chain hash.
std::string frame_entry(const wire::JournalEntry& entry, uint64_t& chain);

}  // namespace troupe::runtime
