// The journal of a run: one file a term under `journal/`. Its records are the commits.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/cluster/journal/journal_format.h"

namespace troupe::runtime {

/// What all terms together say.
struct JournalHistory {
  std::vector<wire::StepRecord> commits;   ///< steps 1, 2, ... without a gap
  std::map<uint64_t, uint64_t> hashes;     ///< of states, where they were journaled
  uint64_t last_term = 0;                  ///< highest number of a file, opened or not; 0: none
  uint64_t tail_term = 0;                  ///< the term that a successor follows; 0: none
  uint64_t tail_bytes = 0;                 ///< what of its file is valid
  uint64_t tail_chain = 0;
  std::string arithmetic;
  std::vector<std::string> notes;          ///< torn tails, for the user
};

/// Reads `folder`. A successor term says how much of its predecessor is valid: what was appended
/// later is void, what it has accepted must be there. Throws JournalError on damage, gaps, or two
/// arithmetics.
JournalHistory read_journal(const std::filesystem::path& folder);

/// Appends to the file of a new term. A record is durable when append has returned true.
class JournalWriter {
 public:
  /// Makes durable what `history` has accepted, then opens term `history.last_term + 1`. Throws
  /// JournalError (JournalFull) if one of them cannot be done.
  JournalWriter(const std::filesystem::path& folder, const JournalHistory& history,
                std::string arithmetic);
  ~JournalWriter();
  JournalWriter(const JournalWriter&) = delete;
  JournalWriter& operator=(const JournalWriter&) = delete;

  uint64_t term() const { return term_; }

  /// Writes and syncs. On failure nothing of the record remains, error() says why, and the call may
  /// be made again: after a failed write in the same file, after a failed sync in a new term's
  /// (what a failed sync has lost cannot be known).
  bool append(const wire::JournalEntry& entry) { return append(std::span(&entry, 1)); }
  /// All of them, with one sync.
  bool append(std::span<const wire::JournalEntry> entries);
  const std::string& error() const { return error_; }
  bool lacks_room() const;  ///< why the last one failed

 private:
  bool keep_predecessor();
  bool open_term();
  bool is_removed() const;
  void fail(const std::filesystem::path& path, int cause);
  void give_up_term();
  void leave_term();  // a new one follows, from what is durable
  bool write_all(const std::string& bytes);

  const std::filesystem::path folder_;
  const std::string arithmetic_;
  uint64_t term_ = 0;
  uint64_t predecessor_term_, predecessor_bytes_, predecessor_chain_;
  int file_ = -1;
  uint64_t bytes_ = 0;  // durable
  uint64_t chain_ = 0;
  std::string error_;
  int cause_ = 0;  // errno; 0: something else
};

}  // namespace troupe::runtime
