// The log against a model so simple that it is plainly right, through random calls, crashes and
// full disks. A failing seed replays: it is printed, and everything follows from it.
#include "log_support.h"

#include <fmt/format.h>

#include <array>
#include <deque>
#include <utility>
#include <variant>

namespace nornic::engine::log_test {
namespace {

using Lost = SimulatedDisk::Lost;

struct Model {
    std::uint64_t first = 1;
    std::uint64_t previous_term = 0;
    std::deque<LogEntry> entries;
    HardState hard_state;

    [[nodiscard]] std::uint64_t next() const { return first + entries.size(); }
    [[nodiscard]] std::uint64_t term_at(std::uint64_t index) const {
        return index + 1 == first ? previous_term : entries[index - first].term.value;
    }
    void cut(std::uint64_t from) { entries.resize(from - first); }
    void truncate_to(std::uint64_t new_first) {
        while (first < new_first) {
            previous_term = entries.front().term.value;
            entries.pop_front();
            ++first;
        }
    }
};

struct Cut {
    std::uint64_t from;
};
using Change = std::variant<Cut, LogEntry, HardState>;

void follow(Model& model, const Change& change) {
    if (const auto* cut = std::get_if<Cut>(&change)) {
        model.cut(cut->from);
    } else if (const auto* entry = std::get_if<LogEntry>(&change)) {
        model.entries.push_back(*entry);
    } else {
        model.hard_state = std::get<HardState>(change);
    }
}

/// Empty if the log holds what the model does, else the difference.
std::string difference(Log& log, const Model& model, const HardState& hard_state) {
    if (log.first_index().value != model.first || log.last_index().value + 1 != model.next()) {
        return fmt::format("log [{}, {}], model [{}, {})",
                           log.first_index().value,
                           log.last_index().value,
                           model.first,
                           model.next());
    }
    if (hard_state != model.hard_state) {
        return "hard state";
    }
    std::size_t at = 0;
    std::string wrong;
    const Result<> read = log.read(log.first_index(), log.last_index(), [&](const LogEntry& entry) {
        const LogEntry& expected = model.entries[at++];
        if (entry.index != expected.index || entry.term != expected.term ||
            entry.payload != expected.payload || entry.kind != expected.kind ||
            entry.hybrid_time != expected.hybrid_time) {
            wrong = fmt::format("entry {}", entry.index.value);
        }
        return wrong.empty();
    });
    if (!read) {
        return read.error().message();
    }
    if (at != model.entries.size()) {
        return fmt::format("{} entries read of {}", at, model.entries.size());
    }
    for (std::uint64_t index = model.first - 1; index < model.next(); ++index) {
        const Result<Term> term = log.term_at(LogIndex{index});
        if (!term || term.value().value != model.term_at(index)) {
            return fmt::format("term of {}", index);
        }
    }
    return wrong;
}

class ModelRun {
public:
    explicit ModelRun(std::uint64_t seed) : random_{seed} {
        bed_.disk = std::make_unique<SimulatedDisk>(seed);
        bed_.seed = seed;
        bed_.settings.segment_bytes = std::uint64_t{16384} << random_.below(2);
        bed_.open();
        (void)rolled();
    }

    void run(int steps) {
        for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
            switch (random_.below(16)) {
                case 0:
                    crash();
                    break;
                case 1:
                    reopen();
                    break;
                case 2:
                    truncate();
                    break;
                case 3:
                    if (random_.one_in(8)) {
                        reset();
                    }
                    break;
                case 4:
                case 5:
                    set_hard_state();
                    break;
                case 6:
                    random_.one_in(3) ? truncate_after() : overwrite();
                    break;
                case 7:
                    append_to_full_disk();
                    break;
                case 8:
                case 9:
                case 10:
                case 11:
                    sync();
                    break;
                default:
                    append(model_.next());
                    break;
            }
            const std::string wrong = difference(*bed_.log, model_, model_.hard_state);
            ASSERT_EQ(wrong, "") << "after step " << step;
        }
    }

private:
    std::vector<LogEntry> batch_at(std::uint64_t from) {
        std::vector<LogEntry> batch;
        const std::uint64_t count = 1 + random_.below(6);
        if (random_.one_in(5)) {
            ++term_;
        }
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t size =
                random_.one_in(30) ? random_.below(40'000) : random_.below(1200);
            std::string payload(size, '\0');
            // Zeros, so that payloads look like lost sectors, and noise.
            if (!random_.one_in(6)) {
                for (char& c : payload) {
                    c = static_cast<char>(random_.next());
                }
            }
            LogEntry entry = make_entry(from + i, term_, std::move(payload));
            entry.kind = static_cast<EntryKind>(random_.below(3));
            entry.hybrid_time = random_.next();
            batch.push_back(std::move(entry));
        }
        return batch;
    }

    void note(Change change) {
        follow(model_, change);
        unsynced_.push_back(std::move(change));
    }

    void append(std::uint64_t from) {
        const std::vector<LogEntry> batch = batch_at(from);
        const Result<> appended = bed_.log->append(batch);
        ASSERT_TRUE(appended) << appended.error().message();
        // A new segment makes all before it durable.
        if (rolled()) {
            all_durable();
        }
        if (from < model_.next()) {
            note(Cut{from});
        }
        for (const LogEntry& entry : batch) {
            note(entry);
        }
    }

    /// Whether the newest segment is another than at the last call.
    bool rolled() {
        std::string newest;
        const std::vector<std::string> names = bed_.disk->list(kDirectory).value();
        for (const std::string& name : names) {
            if (segment_sequence(name)) {
                newest = name;
            }
        }
        return std::exchange(newest_, newest) != newest;
    }

    void overwrite() {
        if (!model_.entries.empty()) {
            append(model_.first + random_.below(model_.entries.size()));
        }
    }

    void truncate_after() {
        const std::uint64_t from = model_.first + random_.below(model_.entries.size() + 1);
        ASSERT_TRUE(bed_.log->truncate_after(LogIndex{from - 1}));
        if (rolled()) {
            all_durable();
        }
        if (from < model_.next()) {
            note(Cut{from});
        }
    }

    void append_to_full_disk() {
        const std::vector<LogEntry> batch = batch_at(model_.next());
        bed_.disk->fail_writes_after(random_.below(4000), ErrorCode::kDiskFull);
        bed_.disk->fail_only_next_write(true);
        const Result<> appended = bed_.log->append(batch);
        bed_.disk->heal();
        if (rolled()) {
            all_durable();
        }
        if (!appended) {
            ASSERT_EQ(appended.error().code(), ErrorCode::kDiskFull);
            ASSERT_FALSE(bed_.log->failed());
            return;
        }
        for (const LogEntry& entry : batch) {
            note(entry);
        }
    }

    void set_hard_state() {
        const HardState state{
            Term{++term_},
            random_.one_in(2) ? "node" : "",
            LogIndex{model_.first},
            random_.one_in(2) ? "" : std::string(random_.one_in(8) ? 4096 : 1 + random_.below(40), 'e')};
        const Result<> set = bed_.log->set_hard_state(state);
        ASSERT_TRUE(set) << set.error().message();
        if (rolled()) {
            all_durable();
        }
        note(state);
    }

    void sync() {
        ASSERT_TRUE(bed_.log->sync());
        all_durable();
    }

    void all_durable() {
        durable_ = model_;
        unsynced_.clear();
    }

    void truncate() {
        const std::uint64_t keep = model_.first + random_.below(model_.entries.size() + 2);
        ASSERT_TRUE(bed_.log->truncate_before(LogIndex{keep}));
        const std::uint64_t first = bed_.log->first_index().value;
        // How much is kept back depends on the segments, but never less than was asked for.
        ASSERT_LE(first, std::max(keep, model_.first));
        ASSERT_GE(first, model_.first);
        model_.truncate_to(first);
        all_durable();
    }

    void reset() {
        const std::uint64_t next = model_.next() + random_.below(100);
        ASSERT_TRUE(bed_.log->reset(LogIndex{next}, Term{term_}));
        model_.entries.clear();
        model_.first = next;
        model_.previous_term = term_;
        all_durable();
    }

    void reopen() {
        bed_.open();
        all_durable();
        check_recovery();
        (void)rolled();
    }

    void crash() {
        const std::array<Lost, 3> ways{Lost::kNothing, Lost::kEverything, Lost::kSomeSectors};
        const Lost lost = ways[random_.below(3)];
        bed_.disk->crash(lost);
        bed_.open();
        ASSERT_NE(bed_.log, nullptr);
        (void)rolled();
        // What was synced, and then some prefix of what was not.
        Model candidate = durable_;
        std::size_t kept = 0;
        std::string wrong = difference(*bed_.log, candidate, bed_.log->recovery().hard_state);
        while (!wrong.empty() && kept < unsynced_.size()) {
            follow(candidate, unsynced_[kept++]);
            wrong = difference(*bed_.log, candidate, bed_.log->recovery().hard_state);
        }
        ASSERT_EQ(wrong, "") << "after a crash that lost " << static_cast<int>(lost);
        if (lost == Lost::kNothing) {
            while (kept < unsynced_.size()) {
                follow(candidate, unsynced_[kept++]);
            }
            ASSERT_EQ(difference(*bed_.log, candidate, bed_.log->recovery().hard_state), "");
        }
        model_ = candidate;
        all_durable();
        check_recovery();
    }

    void check_recovery() {
        const LogRecovery& recovery = bed_.log->recovery();
        EXPECT_EQ(recovery.first.value, model_.first);
        EXPECT_EQ(recovery.last.value + 1, model_.next());
        EXPECT_EQ(recovery.last_term.value, model_.term_at(model_.next() - 1));
        EXPECT_EQ(recovery.hard_state, model_.hard_state);
    }

    Random random_;
    TestBed bed_;
    Model model_;
    Model durable_;
    std::vector<Change> unsynced_;
    std::uint64_t term_ = 1;
    std::string newest_;
};

TEST(LogModel, RandomCallsCrashesAndFullDisksLeaveWhatTheModelHolds) {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        ModelRun{seed}.run(250);
        if (HasFailure()) {
            return;
        }
    }
}

TEST(LogModel, TheMemoryLogKeepsWhatWasSyncedAndNothingElse) {
    const std::unique_ptr<Log> log = make_memory_log();
    const std::vector<LogEntry> first{make_entry(1), make_entry(2), make_entry(3)};
    ASSERT_TRUE(log->append(first));
    ASSERT_TRUE(log->set_hard_state({Term{1}, "a", LogIndex{1}}));
    ASSERT_TRUE(log->sync());
    const LogEntry conflict = make_entry(2, 2);
    ASSERT_TRUE(log->append({&conflict, 1}));
    EXPECT_EQ(log->last_index(), LogIndex{2});
    EXPECT_EQ(log->term_at(LogIndex{2}).value(), Term{2});
    ASSERT_TRUE(log->set_hard_state({Term{2}, "b", LogIndex{1}}));
    ASSERT_TRUE(log->truncate_after(LogIndex{1}));
    EXPECT_EQ(log->last_index(), LogIndex{1});
    crash_memory_log(*log);
    EXPECT_EQ(log->last_index(), LogIndex{3});
    EXPECT_EQ(log->term_at(LogIndex{2}).value(), Term{1});
    EXPECT_EQ(log->recovery().hard_state, (HardState{Term{1}, "a", LogIndex{1}}));

    ASSERT_TRUE(log->append({&conflict, 1}));
    ASSERT_TRUE(log->sync());
    ASSERT_TRUE(log->truncate_before(LogIndex{2}));
    crash_memory_log(*log);
    EXPECT_EQ(log->recovery().first, LogIndex{2});
    EXPECT_EQ(log->recovery().last_term, Term{2});
    EXPECT_EQ(log->term_at(LogIndex{1}).value(), Term{1});
    ASSERT_TRUE(log->reset(LogIndex{50}, Term{9}));
    EXPECT_EQ(log->last_index(), LogIndex{49});
    EXPECT_EQ(log->term_at(LogIndex{49}).value(), Term{9});
    EXPECT_FALSE(log->read(LogIndex{2}, LogIndex{2}, [](const LogEntry&) { return true; }));
}

}  // namespace
}  // namespace nornic::engine::log_test
