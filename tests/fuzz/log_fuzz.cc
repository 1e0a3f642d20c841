// Any bytes as the files of the replicated log. The input is a list of steps that build segments:
// records with valid checksums and arbitrary fields, then bytes overwritten and files cut. Opening
// ends in an error that says why or in a log that reads, takes one entry more, and is the same
// after another opening.

#include "base/bytes.h"
#include "base/check.h"
#include "engine/log/codec.h"
#include "engine/log/segment.h"
#include "engine/log/segmented_log.h"
#include "engine/log/simulated_disk.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace nornic;
using namespace nornic::engine;

constexpr std::uint64_t kSegmentBytes = 16 << 10;
constexpr std::size_t kSegmentsMax = 4;
constexpr std::size_t kStepsMax = 64;
const std::string kDirectory = "/log";

class StillClock final : public Clock {
public:
    Deadline now() const override { return Deadline{std::chrono::seconds{1}}; }
    std::int64_t wall_ns() const override { return 1; }
};

std::string path_of(std::uint64_t sequence) {
    return join_path(kDirectory, segment_name(sequence));
}

/// Writes the segments that the steps say; `in` may end anywhere.
class Builder {
public:
    Builder(SimulatedDisk& disk, ByteReader& in) : disk_{disk}, in_{in} {}

    void build() {
        NORNIC_CHECK(disk_.make_directories(kDirectory), "a directory");
        begin_segment();
        for (std::size_t steps = 0; steps < kStepsMax && in_.ok() && !in_.at_end(); ++steps) {
            step(in_.get_u8());
        }
        end_segment();
    }

private:
    void step(std::uint8_t what) {
        switch (what % 9) {
            case 0:  // The next entry, as a writer would write it.
                entry(++index_, in_.get_u8() % 64);
                break;
            case 1:  // Any entry.
                index_ = in_.get_varint();
                term_ = in_.get_varint();
                entry(index_, in_.get_u8());
                break;
            case 2: {
                HardState state;
                state.term = Term{in_.get_varint()};
                state.committed = LogIndex{in_.get_varint()};
                const std::uint8_t length = in_.get_u8();
                state.voted_for = std::string{in_.get_raw(length % 32)};
                if (length >= 128) {
                    state.extra = std::string{in_.get_raw(length % 64)};
                }
                record([&](RecordEncoder& e) { e.add_hard_state(state); });
                break;
            }
            case 3: {
                const LogIndex from{in_.get_varint()};
                index_ = from.value - 1;
                record([&](RecordEncoder& e) { e.add_cut(from, Term{in_.get_varint()}); });
                break;
            }
            case 4: {
                const LogIndex next{in_.get_varint()};
                index_ = next.value - 1;
                record([&](RecordEncoder& e) { e.add_reset(next, Term{in_.get_varint()}); });
                break;
            }
            case 5:
                record([](RecordEncoder& e) { e.add_mark(); });
                break;
            case 6: {  // Any header under a valid checksum.
                RecordHeader header;
                header.type = static_cast<RecordType>(in_.get_u8());
                header.kind = static_cast<EntryKind>(in_.get_u8());
                header.zero = in_.get_u8();
                header.term = in_.get_varint();
                header.index = in_.get_varint();
                header.hybrid_time = in_.get_varint();
                const std::string_view payload = in_.get_raw(in_.get_u8() % 64);
                record([&](RecordEncoder& e) { e.add(header, payload); });
                break;
            }
            case 7:  // The next segment.
                if (segments_ < kSegmentsMax) {
                    end_segment();
                    begin_segment();
                }
                break;
            default: {  // Harm, done when the segment is written.
                const auto at = static_cast<std::size_t>(in_.get_varint());
                harms_.push_back({at, std::string{in_.get_raw(in_.get_u8() % 32)}});
                break;
            }
        }
    }

    void entry(std::uint64_t index, std::size_t payload) {
        LogEntry entry{Term{term_},
                       LogIndex{index},
                       index,
                       EntryKind::kWriteSet,
                       std::string{in_.get_raw(payload)}};
        record([&](RecordEncoder& e) { e.add_entry(entry); });
    }

    template <class Add>
    void record(Add&& add) {
        std::string bytes;
        RecordEncoder encoder{
            bytes,
            {header_.salt, kSegmentHeaderBytes + records_.size(), last_crc_, kSegmentHeaderBytes}};
        add(encoder);
        records_ += bytes;
        last_crc_ = encoder.last_crc();
    }

    void begin_segment() {
        SegmentHeader next;
        next.sequence = header_.sequence + 1;
        next.salt = 0x1234567 * next.sequence;
        next.created_bytes = kSegmentBytes;
        next.first_index = LogIndex{index_ + 1};
        next.previous_term = Term{term_};
        next.previous_end = segments_ == 0 ? 0 : kSegmentHeaderBytes + records_.size();
        next.previous_crc = last_crc_;
        if (segments_ > 0 || (in_.get_u8() & 1U) != 0) {
            // As it would be, but for what the input says to change.
            const std::uint8_t change = in_.get_u8();
            const std::uint64_t to = change == 0 ? 0 : in_.get_varint();
            switch (change) {
                case 1:
                    next.sequence = to % 16;
                    break;
                case 2:
                    next.first_index = LogIndex{to};
                    break;
                case 3:
                    next.previous_term = Term{to};
                    break;
                case 4:
                    next.previous_end = to;
                    break;
                case 5:
                    next.previous_crc = static_cast<std::uint32_t>(to);
                    break;
                case 6:
                    next.created_bytes = to;
                    break;
                default:
                    break;
            }
        }
        ++segments_;
        header_ = next;
        head_ = encode_segment_header(header_);
        last_crc_ = header_.crc;
        records_.clear();
        harms_.clear();
    }

    void end_segment() {
        std::string bytes = head_ + records_;
        bytes.resize(std::max<std::size_t>(bytes.size(), kSegmentBytes), '\0');
        for (const auto& [at, with] : harms_) {
            if (with.empty()) {
                bytes.resize(at % (bytes.size() + 1));
            } else if (!bytes.empty()) {
                const std::size_t from = at % bytes.size();
                bytes.replace(from, with.size(), with);
            }
        }
        auto file = disk_.open(path_of(header_.sequence), OpenMode::kCreate);
        if (!file) {
            return;  // A second one of this name.
        }
        NORNIC_CHECK(file.value()->write(0, bytes), "a write");
        NORNIC_CHECK(file.value()->sync_data(), "a sync");
        NORNIC_CHECK(disk_.sync_directory(kDirectory), "a sync of names");
    }

    struct Harm {
        std::size_t at;
        std::string with;  // empty: the file is cut there
    };
    SimulatedDisk& disk_;
    ByteReader& in_;
    SegmentHeader header_;
    std::string head_;
    std::string records_;
    std::vector<Harm> harms_;
    std::uint64_t index_ = 0;
    std::uint64_t term_ = 1;
    std::uint32_t last_crc_ = 0;
    std::size_t segments_ = 0;
};

Result<std::unique_ptr<Log>> open(SimulatedDisk& disk, Clock& clock) {
    LogSettings settings;
    settings.directory = kDirectory;
    settings.segment_bytes = kSegmentBytes;
    settings.entry_bytes_max = 1 << 16;
    settings.reserve_bytes = 1 << 20;
    LogWorld world;
    world.file_system = &disk;
    world.prepare_in_background = false;
    world.seed = 1;
    world.warn = [](const std::string&) {};
    return open_segmented_log_on(settings, clock, std::move(world));
}

std::vector<LogEntry> entries_of(Log& log) {
    std::vector<LogEntry> out;
    if (log.last_index() < log.first_index()) {
        return out;
    }
    std::uint64_t expected = log.first_index().value;
    const auto read = log.read(log.first_index(), log.last_index(), [&](const LogEntry& entry) {
        NORNIC_CHECK(entry.index.value == expected,
                     "entry {} stands where {} was expected",
                     entry.index.value,
                     expected);
        ++expected;
        out.push_back(entry);
        return true;
    });
    NORNIC_CHECK(read, "a log that was opened cannot be read: {}", read.error().message());
    NORNIC_CHECK(expected == log.last_index().value + 1, "entries are missing at the end");
    return out;
}

void same(const std::vector<LogEntry>& a, const std::vector<LogEntry>& b) {
    NORNIC_CHECK(a.size() == b.size(), "{} entries, then {}", a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        NORNIC_CHECK(a[i].term == b[i].term && a[i].index == b[i].index && a[i].kind == b[i].kind &&
                         a[i].hybrid_time == b[i].hybrid_time && a[i].payload == b[i].payload,
                     "entry {} has changed",
                     a[i].index.value);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    StillClock clock;
    SimulatedDisk disk{1};
    std::string_view bytes;
    if (size > 0) {
        bytes = {reinterpret_cast<const char*>(data), size};
    }
    ByteReader in{bytes};
    Builder{disk, in}.build();

    auto opened = open(disk, clock);
    if (!opened) {
        NORNIC_CHECK(!opened.error().message().empty(), "a refusal without a reason");
        return 0;
    }
    std::vector<LogEntry> entries = entries_of(*opened.value());
    const LogIndex last = opened.value()->last_index();
    if (last.value < (std::uint64_t{1} << 62)) {
        const Term term = std::max(opened.value()->recovery().last_term,
                                   opened.value()->recovery().hard_state.term);
        entries.push_back({term, LogIndex{last.value + 1}, 7, EntryKind::kWriteSet, "one more"});
        const auto appended = opened.value()->append({&entries.back(), 1});
        NORNIC_CHECK(appended, "an opened log takes no entry: {}", appended.error().message());
        NORNIC_CHECK(opened.value()->sync(), "a sync");
    }
    const HardState state = opened.value()->recovery().hard_state;
    opened.value().reset();
    auto again = open(disk, clock);
    NORNIC_CHECK(
        again, "what was opened and appended to does not open again: {}", again.error().message());
    NORNIC_CHECK(again.value()->recovery().hard_state == state, "the hard state has changed");
    same(entries, entries_of(*again.value()));
    return 0;
}
