// register: reads on the primary are linearizable. causal: reads anywhere are not older than their bookmarks.
#include "tests/sim/checker.h"
#include "tests/sim/workload_support.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace nornic::sim {
namespace {

/// Every write puts a new value into one of a few registers. A read at level QUORUM sees what was acknowledged before
/// it began. Entries are ordered by the log, so this is judged at the end by what is left of it.
class Registers final : public Workload {
public:
    explicit Registers(World& world) : world_{world}, count_{1 + world.random.below(3)} {}

    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        const auto key = static_cast<std::int64_t>(world_.random.below(count_));
        const std::int64_t value = ++last_;
        const auto body = [key, value](Transaction& tx) -> Result<bool> {
            std::optional<NodeId> at = find(tx, key);
            if (!at) {
                NORNIC_TRY(const LabelId label, tx.label_or_create("Register"));
                NORNIC_TRY(tx.lock_for_merge(label, {}));
                at = find(tx, key);
            }
            if (at) {
                NORNIC_TRY(set_integer(tx, *at, "value", value));
            } else {
                NORNIC_TRY(create_node(tx, "Register", {{"key", key}, {"value", value}}));
            }
            return true;
        };
        writes_[value] = Write{key, world_.scheduler.now(), {}, {}};
        node.transact(think, body, [this, value, done = std::move(done)](const Answer& answer) {
            writes_[value].answered = world_.scheduler.now();
            writes_[value].answer = answer;
            done(answer);
        });
    }

    void read(Node& node, std::function<void()> done) override {
        const auto key = static_cast<std::int64_t>(world_.random.below(count_));
        // What was acknowledged by now must be seen; what it sees was written before it ends.
        const Duration began = world_.scheduler.now();
        read_at(
            node,
            {.level = modes::ReadConsistency::kQuorum, .bookmark = std::nullopt},
            [this, &node, key, began](Transaction& tx) {
                const auto at = find(tx, key);
                const std::int64_t value = at ? integer_of(tx, *at, "value") : 0;
                check_value(node, key, value);
                reads_.push_back({key,
                                  value,
                                  began,
                                  world_.scheduler.now(),
                                  tx.snapshot(),
                                  node.replica().term_at(tx.snapshot()),
                                  node.number()});
            },
            [done = std::move(done)](ReadEnd) { done(); });
    }

    void judge(Node& primary) override {
        const auto reader = read_now(primary);
        if (!reader) {
            return;
        }
        for (std::size_t key = 0; key < count_; ++key) {
            const auto at = find(*reader, static_cast<std::int64_t>(key));
            const std::int64_t value = at ? integer_of(*reader, *at, "value") : 0;
            check_value(primary, static_cast<std::int64_t>(key), value);
            check_newest(static_cast<std::int64_t>(key), value, reader->snapshot(), "in the end");
        }
        for (const Read& read : reads_) {
            judge(read);
        }
        if (world_.menu.raft.on) {
            judge_order();
        }
    }

private:
    struct Write {
        std::int64_t key = 0;
        Duration began{};
        std::optional<Duration> answered;
        Answer answer;
    };
    struct Read {
        std::int64_t key = 0;
        std::int64_t value = 0;
        Duration began{};
        Duration ended{};
        LogIndex snapshot;
        std::optional<Term> term;
        std::size_t node = 0;
    };

    static std::optional<NodeId> find(engine::GraphReader& reader, std::int64_t key) {
        for (const NodeId id : nodes_of(reader, "Register")) {
            if (integer_of(reader, id, "key") == key) {
                return id;
            }
        }
        return std::nullopt;
    }

    /// Somebody wrote it there, and was not told that it was refused.
    void check_value(Node& node, std::int64_t key, std::int64_t value) {
        if (value == 0) {
            return;
        }
        const auto write = writes_.find(value);
        const bool refused = write != writes_.end() && write->second.answered &&
                             write->second.answer.outcome == Outcome::kRefused && world_.forced == 0;
        if (write == writes_.end() || write->second.key != key || refused) {
            world_.violate(fmt::format("register {} of {} holds {}, which {}",
                                       key,
                                       node.id(),
                                       value,
                                       refused ? "was refused: " + write->second.answer.error : "nobody wrote"));
        }
    }

    /// The value at an entry of the surviving log is the newest acknowledged one up to there, or an unknown one.
    void check_newest(std::int64_t key, std::int64_t value, LogIndex snapshot, std::string_view when) {
        const Write* newest = nullptr;
        std::int64_t newest_value = 0;
        for (const auto& [number, write] : writes_) {
            if (write.key == key && write.answered && write.answer.outcome == Outcome::kCommitted &&
                write.answer.committed.index <= snapshot && world_.checker->survived(write.answer.committed) &&
                (newest == nullptr || newest->answer.committed.index < write.answer.committed.index)) {
                newest = &write;
                newest_value = number;
            }
        }
        if (value == newest_value) {
            return;
        }
        const auto seen = writes_.find(value);
        if (value != 0 && seen != writes_.end() && seen->second.answer.outcome == Outcome::kUnknown) {
            return;
        }
        world_.violate(fmt::format("register {} holds {} at entry {} {}; the newest acknowledged write up to there is {}",
                                   key,
                                   value,
                                   snapshot.value,
                                   when,
                                   newest_value));
    }

    void judge(const Read& read) {
        const modes::HotStandbySettings& ha = world_.menu.standby;
        // Under `available` two members may lead while they do not hear each other: their reads are not promised.
        const bool promised = (ha.fence_policy != modes::FencePolicy::kAvailable || world_.partitions == 0) &&
                              world_.forced == 0;
        const bool kept = read.snapshot.value == 0 || !read.term || world_.checker->survived({read.snapshot, *read.term});
        const auto where = [&] {
            return fmt::format("a read of register {} on {} from {} to {} us saw {} at entry {}",
                               read.key,
                               world_.node(read.node).id(),
                               read.began.count() / 1000,
                               read.ended.count() / 1000,
                               read.value,
                               read.snapshot.value);
        };
        if (!kept) {
            if (promised && ha.sync_mode != modes::SyncMode::kAsync) {
                world_.violate(where() + ", which was given up later");
            }
            return;
        }
        if (!read.term && read.snapshot.value != 0) {
            return;
        }
        check_newest(read.key, read.value, read.snapshot, "as a read saw it");
        if (!promised) {
            return;
        }
        for (const auto& [number, write] : writes_) {
            if (write.answered && *write.answered < read.began && write.answer.outcome == Outcome::kCommitted &&
                write.answer.committed.index > read.snapshot && world_.checker->survived(write.answer.committed)) {
                world_.violate(fmt::format("{}; {} had been acknowledged as entry {} before it began",
                                           where(),
                                           number,
                                           write.answer.committed.index.value));
                return;
            }
        }
    }

    /// Linearizability: the log orders all operations, a read stands right behind the entry that it read at, and whatever
    /// began after another had ended stands behind it.
    void judge_order() {
        struct Operation {
            Duration began;
            Duration ended;
            std::uint64_t at;
            bool reads;
            std::string what;
        };
        std::vector<Operation> operations;
        for (const auto& [number, write] : writes_) {
            if (write.answered && write.answer.outcome == Outcome::kCommitted) {
                operations.push_back({write.began, *write.answered, write.answer.committed.index.value, false,
                                      fmt::format("the write of {}", number)});
            }
        }
        for (const Read& read : reads_) {
            operations.push_back({read.began, read.ended, read.snapshot.value, true,
                                  fmt::format("a read on {} that saw {}", world_.node(read.node).id(), read.value)});
        }
        std::vector<std::size_t> by_end(operations.size());
        std::iota(by_end.begin(), by_end.end(), 0);
        std::vector<std::size_t> by_begin = by_end;
        std::ranges::sort(by_end, {}, [&](std::size_t i) { return operations[i].ended; });
        std::ranges::sort(by_begin, {}, [&](std::size_t i) { return operations[i].began; });
        const Operation* behind = nullptr;  // of those that ended, the one that stands last
        std::size_t ended = 0;
        for (const std::size_t i : by_begin) {
            const Operation& one = operations[i];
            for (; ended < by_end.size() && operations[by_end[ended]].ended < one.began; ++ended) {
                const Operation& other = operations[by_end[ended]];
                behind = behind == nullptr || other.at > behind->at ? &other : behind;
            }
            if (behind != nullptr && (one.reads ? one.at < behind->at : one.at <= behind->at)) {
                world_.violate(fmt::format("{}, begun at {} us, stands at entry {}, before {} at entry {}, which ended at {} us",
                                           one.what,
                                           one.began.count() / 1000,
                                           one.at,
                                           behind->what,
                                           behind->at,
                                           behind->ended.count() / 1000));
                return;
            }
        }
    }

    World& world_;
    const std::size_t count_;
    std::int64_t last_ = 0;
    std::map<std::int64_t, Write> writes_;
    std::vector<Read> reads_;
};

/// Sessions that write a number of their own, upwards, and read it wherever they are led, with the bookmark of what they
/// saw last. They never see an older one, unless they are told that what they saw was given up.
class Causal final : public Workload {
public:
    explicit Causal(World& world) : world_{world}, sessions_(2 + world.random.below(4)) {}

    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        const auto number = free_session();
        if (!number) {
            done({Outcome::kRefused, {}, "all sessions are busy"});
            return;
        }
        Session& session = sessions_[*number];
        session.busy = true;
        const std::int64_t value = ++session.last;
        const auto key = static_cast<std::int64_t>(*number);
        const auto body = [key, value](Transaction& tx) -> Result<bool> {
            if (const auto at = find(tx, key)) {
                NORNIC_TRY(set_integer(tx, *at, "value", value));
                return true;
            }
            NORNIC_TRY(const LabelId label, tx.label_or_create("Session"));
            NORNIC_TRY(tx.lock_for_merge(label, {}));
            if (find(tx, key)) {
                return false;
            }
            NORNIC_TRY(create_node(tx, "Session", {{"key", key}, {"value", value}}));
            return true;
        };
        node.transact(think, body, [&session, value, done = std::move(done)](const Answer& answer) {
            session.busy = false;
            if (answer.outcome == Outcome::kCommitted) {
                session.seen = value;
                session.bookmark = Bookmark{answer.committed.index, answer.committed.term};
            } else if (answer.outcome == Outcome::kUnknown) {
                session.unsure = true;
            }
            done(answer);
        });
    }

    void read(Node& node, std::function<void()> done) override {
        const auto number = free_session();
        if (!number) {
            done();
            return;
        }
        Session& session = sessions_[*number];
        session.busy = true;
        const auto key = static_cast<std::int64_t>(*number);
        read_at(
            node,
            {.level = modes::ReadConsistency::kLocalOne, .bookmark = session.bookmark},
            [this, &session, &node, key](Transaction& tx) {
                const auto at = find(tx, key);
                const std::int64_t value = at ? integer_of(tx, *at, "value") : 0;
                const auto term = node.replica().term_at(tx.snapshot());
                if (value < session.seen || value > session.last) {
                    blame(session, node, key, value, tx.snapshot(), term);
                    return;
                }
                if (term && tx.snapshot().value != 0) {
                    session.seen = value;
                    session.bookmark = Bookmark{tx.snapshot(), *term};
                }
            },
            [this, &session, done = std::move(done)](ReadEnd end) {
                session.busy = false;
                if (end == ReadEnd::kLostBranch) {
                    // Its driver throws the bookmark away with an error; it begins again from what there is.
                    world_.mark("read: a bookmark of a branch that was given up");
                    session.seen = 0;
                    session.bookmark.reset();
                }
                done();
            });
    }

    void judge(Node& primary) override {
        for (const Suspicion& s : suspicions_) {
            // The log there did not reach back to the bookmark, so that nobody could tell its branch; if that branch is
            // the one that stayed, the read was too old all the same.
            if (world_.checker->survived({s.bookmark.index, s.bookmark.term}) &&
                (!s.term || world_.checker->survived({s.snapshot, *s.term}))) {
                world_.violate(s.what);
            }
        }
        const auto reader = read_now(primary);
        if (!reader) {
            return;
        }
        for (std::size_t i = 0; i < sessions_.size(); ++i) {
            const Session& session = sessions_[i];
            const auto at = find(*reader, static_cast<std::int64_t>(i));
            const std::int64_t value = at ? integer_of(*reader, *at, "value") : 0;
            if (session.bookmark && world_.checker->survived({session.bookmark->index, session.bookmark->term}) &&
                value < session.seen) {
                world_.violate(fmt::format("session {} saw {} and ends with {}", i, session.seen, value));
            }
        }
    }

private:
    struct Session {
        std::int64_t last = 0;  // tried
        std::int64_t seen = 0;
        std::optional<Bookmark> bookmark;
        bool busy = false;
        bool unsure = false;
    };
    struct Suspicion {
        std::string what;
        Bookmark bookmark;
        LogIndex snapshot;
        std::optional<Term> term;
    };

    static std::optional<NodeId> find(engine::GraphReader& reader, std::int64_t key) {
        for (const NodeId id : nodes_of(reader, "Session")) {
            if (integer_of(reader, id, "key") == key) {
                return id;
            }
        }
        return std::nullopt;
    }

    std::optional<std::size_t> free_session() {
        const std::size_t first = world_.random.below(sessions_.size());
        for (std::size_t i = 0; i < sessions_.size(); ++i) {
            const std::size_t at = (first + i) % sessions_.size();
            if (!sessions_[at].busy) {
                return at;
            }
        }
        return std::nullopt;
    }

    void blame(const Session& session,
               Node& node,
               std::int64_t key,
               std::int64_t value,
               LogIndex snapshot,
               std::optional<Term> term) {
        std::string what = fmt::format("session {} had seen {} and reads {} on {} at entry {} of epoch {}",
                                       key,
                                       session.seen,
                                       value,
                                       node.id(),
                                       snapshot.value,
                                       term ? term->value : 0);
        if (!session.bookmark) {
            world_.violate(std::move(what));
            return;
        }
        what += fmt::format(" with the bookmark {} of epoch {}", session.bookmark->index.value, session.bookmark->term.value);
        if (node.replica().term_at(session.bookmark->index)) {
            world_.violate(std::move(what));
        } else {
            suspicions_.push_back({std::move(what), *session.bookmark, snapshot, term});
        }
    }

    World& world_;
    std::vector<Session> sessions_;
    std::vector<Suspicion> suspicions_;
};

}  // namespace

std::unique_ptr<Workload> make_register(World& world) {
    return std::make_unique<Registers>(world);
}
std::unique_ptr<Workload> make_causal(World& world) {
    return std::make_unique<Causal>(world);
}

}  // namespace nornic::sim
