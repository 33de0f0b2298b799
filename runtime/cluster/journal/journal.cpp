#include "runtime/cluster/journal/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/files.h"
#include "runtime/state/hash.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

fs::path term_file(const fs::path& folder, uint64_t term) {
  std::string digits = std::to_string(term);
  return folder / (std::string(8 - std::min<size_t>(8, digits.size()), '0') + digits);
}

std::vector<uint64_t> terms_in(const fs::path& folder) {
  std::vector<uint64_t> terms;
  if (!fs::exists(folder)) return terms;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool is_number = !name.empty() && name.size() <= 18 &&
                           std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!is_number) continue;  // not a term: none of our business
    terms.push_back(std::stoull(name));
  }
  std::sort(terms.begin(), terms.end());
  return terms;
}

/// A term's file, as far as it counts.
struct Term {
  uint64_t number;
  std::string name;
  ParsedJournal parsed;
  const wire::JournalOpened* opened() const {
    return parsed.entries.empty() || !parsed.entries.front().has_opened()
               ? nullptr
               : &parsed.entries.front().opened();
  }
};

/// What a successor has accepted must be there as it was, to the last record: here nothing is torn.
void expect_accepted(const Term& term, const wire::JournalOpened& successor) {
  const ParsedJournal& parsed = term.parsed;
  const std::string said = ", its successor, term " + std::to_string(successor.term()) + ", says ";
  if (parsed.valid_bytes != successor.predecessor_bytes()) {
    throw JournalError(term.name + " is damaged: whole up to byte " +
                       std::to_string(parsed.valid_bytes) + said +
                       std::to_string(successor.predecessor_bytes()));
  }
  if (parsed.chain != successor.predecessor_chain()) {
    throw JournalError(term.name + " is not what was followed: chain hash " + to_hex(parsed.chain) +
                       " at byte " + std::to_string(parsed.valid_bytes) + said +
                       to_hex(successor.predecessor_chain()));
  }
}

/// `successor`: of the term that follows this one; null: none does.
Term read_term(const fs::path& folder, uint64_t number, const wire::JournalOpened* successor) {
  const fs::path path = term_file(folder, number);
  // Read and not mapped: a writer that is going on may cut an unfinished record off.
  const std::string file = read_file(path, UINT64_MAX);
  std::span bytes(reinterpret_cast<const uint8_t*>(file.data()), file.size());
  if (successor != nullptr && bytes.size() > successor->predecessor_bytes()) {
    bytes = bytes.first(successor->predecessor_bytes());  // a zombie has written what is behind it
  }
  Term term{number, path.string(), parse_journal(bytes, path.string())};
  if (successor != nullptr) expect_accepted(term, *successor);
  return term;
}

void add_entries(const Term& term, JournalHistory& history) {
  for (const wire::JournalEntry& entry : term.parsed.entries) {
    if (entry.has_commit()) {
      const uint64_t wanted = history.commits.size() + 1;
      if (entry.commit().step() != wanted) {
        throw JournalError(term.name + " commits step " + std::to_string(entry.commit().step()) +
                           ", wanted " + std::to_string(wanted));
      }
      history.commits.push_back(entry.commit());
    } else if (entry.has_applied()) {
      history.hashes[entry.applied().step()] = entry.applied().hash();
    }
  }
}

}  // namespace

JournalHistory read_journal(const fs::path& folder) {
  JournalHistory history;
  // From the last term back: each says where its predecessor ends.
  std::vector<Term> terms;
  std::optional<uint64_t> wanted;
  const auto numbers = terms_in(folder);
  for (auto it = numbers.rbegin(); it != numbers.rend(); ++it) {
    if (wanted && *it != *wanted) continue;
    Term term = read_term(folder, *it, terms.empty() ? nullptr : terms.back().opened());
    const wire::JournalOpened* opened = term.opened();
    if (opened == nullptr) {
      if (!term.parsed.entries.empty()) {
        throw JournalError(term.name + " does not begin with its opening");
      }
      history.notes.push_back(term.name + " was never opened: ignored");
      continue;
    }
    if (term.parsed.is_torn) {
      history.notes.push_back(term.name + " ends in an unfinished record: cut off at byte " +
                              std::to_string(term.parsed.valid_bytes));
    }
    wanted = opened->predecessor_term();
    terms.push_back(std::move(term));
    if (*wanted == 0) break;
  }
  if (wanted && *wanted != 0) {
    throw JournalError(folder.string() + ": term " + std::to_string(*wanted) + " is missing");
  }
  for (auto it = terms.rbegin(); it != terms.rend(); ++it) {
    const std::string& arithmetic = it->opened()->arithmetic();
    if (!history.arithmetic.empty() && history.arithmetic != arithmetic) {
      throw JournalError(it->name + " is of arithmetic " + arithmetic + ", wanted " +
                         history.arithmetic);
    }
    history.arithmetic = arithmetic;
    add_entries(*it, history);
    history.tail_term = it->number;
    history.tail_bytes = it->parsed.valid_bytes;
    history.tail_chain = it->parsed.chain;
  }
  if (!numbers.empty()) history.last_term = numbers.back();
  return history;
}

JournalWriter::JournalWriter(const fs::path& folder, const JournalHistory& history,
                             std::string arithmetic)
    : folder_(folder), arithmetic_(std::move(arithmetic)), term_(history.last_term),
      predecessor_term_(history.tail_term), predecessor_bytes_(history.tail_bytes),
      predecessor_chain_(history.tail_chain) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(folder, error.value());
  if (error || !keep_predecessor() || !open_term()) {
    const std::string text = "cannot open a journal in " + folder.string() + ": " + error_;
    if (lacks_room()) throw JournalFull(text);
    throw JournalError(text);
  }
}

JournalWriter::~JournalWriter() {
  if (file_ >= 0) ::close(file_);
}

/// A predecessor that was killed between writing a record and syncing it has left the record to who
/// reads the file, and not yet to the disk: a power cut would take it from under its successor.
bool JournalWriter::keep_predecessor() {
  if (predecessor_term_ == 0) return true;
  try {
    make_durable(term_file(folder_, predecessor_term_));
  } catch (const CheckpointError& e) {
    error_ = e.what();
    cause_ = 0;
    return false;
  }
  return true;
}

bool JournalWriter::open_term() {
  ++term_;
  const fs::path path = term_file(folder_, term_);
  file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file_ < 0) {
    fail(path, errno);
    --term_;
    return false;
  }
  wire::JournalEntry entry;
  wire::JournalOpened& opened = *entry.mutable_opened();
  opened.set_term(term_);
  opened.set_arithmetic(arithmetic_);
  opened.set_predecessor_term(predecessor_term_);
  opened.set_predecessor_bytes(predecessor_bytes_);
  opened.set_predecessor_chain(predecessor_chain_);
  bytes_ = 0;
  chain_ = 0;
  const std::string bytes = journal_magic() + frame_entry(entry, chain_);
  if (!write_all(bytes) || ::fdatasync(file_) != 0) {
    fail(path, errno);
    give_up_term();
    return false;
  }
  bytes_ = bytes.size();
  try {
    make_durable(folder_);  // without its name the file may be gone after a power cut
  } catch (const CheckpointError& e) {
    error_ = e.what();
    cause_ = 0;
    give_up_term();
    return false;
  }
  return true;
}

void JournalWriter::fail(const fs::path& path, int cause) {
  cause_ = cause;
  error_ = path.string() + ": " + std::strerror(cause);
}

bool JournalWriter::lacks_room() const { return cause_ == ENOSPC || cause_ == EDQUOT; }

/// Nothing stands in it but its opening: one that cannot be removed is in nobody's way.
void JournalWriter::give_up_term() {
  ::close(file_);
  file_ = -1;
  if (::unlink(term_file(folder_, term_).c_str()) == 0) --term_;
}

void JournalWriter::leave_term() {
  predecessor_term_ = term_;
  predecessor_bytes_ = bytes_;
  predecessor_chain_ = chain_;
  ::close(file_);
  file_ = -1;
}

bool JournalWriter::write_all(const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(file_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

/// What is written to a file without a name is gone with this process.
bool JournalWriter::is_removed() const {
  struct stat file {};
  return ::fstat(file_, &file) == 0 && file.st_nlink == 0;
}

bool JournalWriter::append(std::span<const wire::JournalEntry> entries) {
  if (file_ < 0 && !open_term()) return false;
  if (is_removed()) {
    error_ = term_file(folder_, term_).string() + " has been removed, and with it what the run has committed";
    cause_ = 0;
    return false;
  }
  uint64_t chain = chain_;
  std::string bytes;
  for (const wire::JournalEntry& entry : entries) bytes += frame_entry(entry, chain);
  if (!write_all(bytes)) {
    fail(term_file(folder_, term_), errno);
    // What was written of it must not stay in front of the next try.
    if (::ftruncate(file_, static_cast<off_t>(bytes_)) != 0 ||
        ::lseek(file_, static_cast<off_t>(bytes_), SEEK_SET) < 0) {
      leave_term();
    }
    return false;
  }
  if (::fdatasync(file_) != 0) {
    fail(term_file(folder_, term_), errno);
    leave_term();
    return false;
  }
  bytes_ += bytes.size();
  chain_ = chain;
  return true;
}

}  // namespace troupe::runtime
