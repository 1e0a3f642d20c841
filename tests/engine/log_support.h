// What the tests of the log share: small settings, entries to append, and a log on a simulated
// disk.
#pragma once

#include "base/clock.h"
#include "engine/log.h"
#include "engine/log/codec.h"
#include "engine/log/segment.h"
#include "engine/log/segmented_log.h"
#include "engine/log/simulated_disk.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine::log_test {

class ManualClock final : public Clock {
public:
    Deadline now() const override { return now_; }
    std::int64_t wall_ns() const override { return now_.time_since_epoch().count(); }
    void advance(Duration by) { now_ += by; }

private:
    Deadline now_{std::chrono::seconds{1}};
};

inline LogEntry make_entry(std::uint64_t index, std::uint64_t term, std::string payload) {
    return LogEntry{
        Term{term}, LogIndex{index}, index * 7, EntryKind::kWriteSet, std::move(payload)};
}
inline LogEntry make_entry(std::uint64_t index, std::uint64_t term = 1) {
    return make_entry(index, term, "payload " + std::to_string(index) + "/" + std::to_string(term));
}

inline const std::string kDirectory = "/log";
inline std::string segment_path(std::uint64_t sequence) {
    return join_path(kDirectory, segment_name(sequence));
}

struct TestBed {
    ManualClock clock;
    std::unique_ptr<SimulatedDisk> disk = std::make_unique<SimulatedDisk>(1);
    LogSettings settings{.directory = kDirectory,
                         .segment_bytes = 16 << 10,
                         .entry_bytes_max = 1 << 20,
                         .reserve_bytes = 1 << 20};
    std::vector<std::string> warnings;
    std::unique_ptr<Log> log;
    std::uint64_t seed = 1;

    Result<> try_open() {
        log.reset();
        LogWorld world;
        world.file_system = disk.get();
        world.prepare_in_background = false;
        world.seed = seed++;
        world.warn = [this](const std::string& line) { warnings.push_back(line); };
        NORNIC_TRY(log, open_segmented_log_on(settings, clock, std::move(world)));
        return success();
    }
    void open() {
        const Result<> opened = try_open();
        ASSERT_TRUE(opened) << opened.error().message();
    }
    /// The process ends without a last word, then comes back.
    void crash_and_open(SimulatedDisk::Lost lost) {
        disk->crash(lost);
        open();
    }
    void append(const LogEntry& entry) {
        const Result<> appended = log->append({&entry, 1});
        ASSERT_TRUE(appended) << appended.error().message();
    }
    void append_and_sync(const LogEntry& entry) {
        append(entry);
        ASSERT_TRUE(log->sync());
    }
    std::vector<LogEntry> entries() {
        std::vector<LogEntry> out;
        const Result<> read =
            log->read(log->first_index(), log->last_index(), [&out](const LogEntry& entry) {
                out.push_back(entry);
                return true;
            });
        EXPECT_TRUE(read) << read.error().message();
        return out;
    }
    std::string payloads() {
        std::string out;
        for (const LogEntry& entry : entries()) {
            out += entry.payload + ";";
        }
        return out;
    }
};

/// Where the records of a segment stand: offset of each, and last the end.
inline std::vector<std::uint64_t> record_offsets(SimulatedDisk& disk, std::uint64_t sequence) {
    const std::string bytes = disk.contents(segment_path(sequence));
    const auto header =
        decode_segment_header(std::string_view{bytes}.substr(0, kSegmentHeaderBytes), "segment");
    EXPECT_TRUE(header);
    std::vector<std::uint64_t> offsets{kSegmentHeaderBytes};
    while (const auto record = decode_record(std::string_view{bytes}.substr(offsets.back()),
                                             header.value().salt,
                                             offsets.back())) {
        offsets.push_back(offsets.back() + record->bytes());
    }
    return offsets;
}

}  // namespace nornic::engine::log_test
