#include "runtime/telemetry/cells.h"

#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "runtime/telemetry/cell_file.h"
#include "runtime/telemetry/process_status.h"

namespace troupe::runtime {
namespace {

/// `text` cut to less than `capacity` bytes, not inside a character.
std::string_view cut(std::string_view text, size_t capacity) {
  if (text.size() < capacity) return text;
  size_t size = capacity - 1;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0u) == 0x80u) --size;
  return text.substr(0, size);
}

template <size_t n>
void write_text(Word (&words)[n], std::string_view text) {
  char bytes[n * 8] = {};
  const std::string_view fitting = cut(text, sizeof bytes);
  std::copy(fitting.begin(), fitting.end(), bytes);
  for (size_t i = 0; i < n; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + 8 * i, 8);
    words[i].store(word, std::memory_order_release);
  }
}

/// Makes `turn` odd; false: somebody else writes now.
bool take_turn(HalfWord& turn) {
  uint32_t before = turn.load(std::memory_order_relaxed);
  return before % 2 == 0 && turn.compare_exchange_strong(before, before + 1);
}
void give_turn(HalfWord& turn) {
  turn.store(turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

uint64_t unix_us() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(since).count());
}

void fill_header(FileHeader& header, const std::string& run_folder) {
  const auto status = process_status(::getpid());
  const CellMoment now = CellMoment::now();
  header.version = cell_file_version;
  header.cell_bytes = sizeof(CellSlot);
  header.cell_count = cell_capacity;
  header.name_count = name_capacity;
  header.pid = static_cast<uint32_t>(::getpid());
  header.is_tsc = is_counter_steady ? 1 : 0;
  header.process_start = status ? status->start_time : 0;
  header.pid_namespace = pid_namespace();
  header.created_unix_us = unix_us();
  header.base_ticks = now.ticks;
  header.base_ns = now.ns;
  const std::string_view folder = cut(run_folder, run_folder_bytes);
  std::copy(folder.begin(), folder.end(), header.run_folder);
  std::atomic_ref(header.magic).store(cell_file_magic, std::memory_order_release);
}

/// Everything but the identity, as at the begin of a life.
void clear(CellSlot& slot) {
  for (Word* word :
       {&slot.arrived, &slot.bytes, &slot.parked, &slot.resumed, &slot.handled, &slot.busy, &slot.began,
        &slot.kind, &slot.unit, &slot.step, &slot.ended, &slot.wait_since, &slot.wait_detail}) {
    word->store(0, std::memory_order_release);
  }
  for (HalfWord* word : {&slot.state, &slot.wait_kind}) word->store(0, std::memory_order_release);
  write_text(slot.error, "");
  write_text(slot.end_reason, "");
}

void begin_life(CellSlot& slot, const CellIdentity& identity) {
  const uint64_t life = slot.life.load(std::memory_order_relaxed);
  slot.life.store(life + 1, std::memory_order_relaxed);
  clear(slot);
  slot.restarts.store(identity.restarts, std::memory_order_release);
  slot.incarnation.store(identity.incarnation, std::memory_order_release);
  slot.hired.store(cell_ticks(), std::memory_order_release);
  write_text(slot.role, identity.role);
  write_text(slot.name, identity.name);
  write_text(slot.parent, identity.parent);
  slot.life.store(life + 2, std::memory_order_release);
}

}  // namespace

bool has_steady_counter() {
#if defined(__x86_64__)
  // "Invariant TSC": AMD64 manual, volume 3, CPUID Fn8000_0007 EDX bit 8; Intel's says the same.
  unsigned a = 0, b = 0, c = 0, d = 0;
  return ::__get_cpuid(0x80000007u, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;
#else
  return false;
#endif
}

void Cell::failed(std::string_view text) {
  CellSlot& s = slot();
  if (!take_turn(s.error_turn)) return;  // another error of this moment is being kept
  write_text(s.error, text);
  give_turn(s.error_turn);
}

void Cell::ended(std::string_view reason) {
  CellSlot& s = slot();
  if (s.ended.load(std::memory_order_relaxed) != 0 || !take_turn(s.end_turn)) return;
  write_text(s.end_reason, reason);
  give_turn(s.end_turn);
  set_state(CellState::dead);
  s.ended.store(std::max<uint64_t>(cell_ticks(), 1), std::memory_order_release);
}

struct Glass::State {
  CellMemory file;
  std::string path;
  pid_t owner = ::getpid();
  std::mutex mutex;
  std::deque<Cell> cells;        // one a life
  std::vector<CellSlot*> slots;  // that have been hired
  std::vector<Cell*> holders;    // of slots, the last life of each
  std::deque<CellSlot> spares;   // in plain memory
  std::deque<size_t> dead;       // slots to use again, longest dead first
  CellSlot lost;                 // takes what is said of lives whose cells are used again
  std::unordered_map<std::string, MessageKind> kinds;

  FileHeader& header() { return *static_cast<FileHeader*>(file.memory); }
  CellSlot* file_slot(size_t i) {
    return reinterpret_cast<CellSlot*>(static_cast<char*>(file.memory) + sizeof(FileHeader)) + i;
  }
  void find_dead();
  size_t free_slot();
};

/// The search is long: its result serves many calls. Who is dead stays so until hired.
void Glass::State::find_dead() {
  std::vector<std::pair<uint64_t, size_t>> ended;
  for (size_t i = 0; i < slots.size(); ++i) {
    const uint64_t when = slots[i]->ended.load(std::memory_order_acquire);
    if (when != 0) ended.emplace_back(when, i);
  }
  std::sort(ended.begin(), ended.end());
  for (const auto& [when, i] : ended) dead.push_back(i);
}

size_t Glass::State::free_slot() {
  if (slots.size() < cell_capacity) {
    slots.push_back(file_slot(slots.size()));
    holders.push_back(nullptr);
    return slots.size() - 1;
  }
  if (dead.empty()) find_dead();
  if (!dead.empty()) {
    const size_t i = dead.front();
    dead.pop_front();
    return i;
  }
  slots.push_back(&spares.emplace_back());
  holders.push_back(nullptr);
  return slots.size() - 1;
}

Glass::Glass(std::unique_ptr<State> state) : state_(std::move(state)) {}

std::unique_ptr<Glass> Glass::create(const std::string& run_folder) {
  std::error_code failed;
  auto folder = std::filesystem::weakly_canonical(run_folder, failed).string();
  if (failed) folder = run_folder;
  const auto folders = cell_folders();
  remove_dead_cell_files(folders, folder);
  auto state = std::make_unique<State>();
  state->file = make_cell_memory(folders);
  state->path = state->file.path.string();
  fill_header(state->header(), folder);
  std::unique_ptr<Glass> glass(new Glass(std::move(state)));
  glass->kind("");
  glass->kind("other");
  return glass;
}

Glass::~Glass() {
  // A forked child has the memory too, but the file is its parent's.
  if (state_->owner != ::getpid()) state_->file.path.clear();
  release_cell_memory(state_->file);
}

Cell* Glass::hire(const CellIdentity& identity) {
  const std::lock_guard lock(state_->mutex);
  const size_t i = state_->free_slot();
  Cell*& holder = state_->holders[i];
  if (holder != nullptr) holder->slot_.store(&state_->lost, std::memory_order_relaxed);
  begin_life(*state_->slots[i], identity);
  holder = &state_->cells.emplace_back(*state_->slots[i]);
  const auto shown = static_cast<uint32_t>(std::min<size_t>(state_->slots.size(), cell_capacity));
  state_->header().cells_used.store(shown, std::memory_order_release);
  return holder;
}

MessageKind Glass::kind(std::string_view name) {
  const std::string known(cut(name, name_bytes));
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->kinds.find(known);
  if (found != state_->kinds.end()) return found->second;
  FileHeader& header = state_->header();
  const uint32_t number = header.names_used.load(std::memory_order_relaxed);
  if (number >= name_capacity) return MessageKind::other;
  std::copy(known.begin(), known.end(), header.names[number]);
  header.names_used.store(number + 1, std::memory_order_release);
  return state_->kinds[known] = static_cast<MessageKind>(number);
}

bool Glass::read(uint64_t offset, void* to, size_t bytes) const {
  if (offset > cell_file_bytes || cell_file_bytes - offset < bytes) return false;
  const std::lock_guard lock(state_->mutex);  // of names that are being written
  const char* from = static_cast<const char*>(state_->file.memory) + offset;
  char* out = static_cast<char*>(to);
  // Cells are words of 8 bytes that their actors go on to write.
  for (; bytes >= 8; bytes -= 8, from += 8, out += 8) {
    const uint64_t word = __atomic_load_n(reinterpret_cast<const uint64_t*>(from), __ATOMIC_ACQUIRE);
    std::memcpy(out, &word, 8);
  }
  std::memcpy(out, from, bytes);
  return true;
}

const std::string& Glass::path() const { return state_->path; }
const std::string& Glass::note() const { return state_->file.note; }

}  // namespace troupe::runtime
