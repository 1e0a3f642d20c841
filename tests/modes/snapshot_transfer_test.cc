#include "modes/snapshot_transfer.h"

#include "base/mutex.h"
#include "base/random.h"
#include "tests/engine/member.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <map>
#include <thread>

namespace nornic::modes {
namespace {

using engine::SnapshotImport;
using engine::SnapshotInfo;
using engine::testing::Member;
using engine::testing::still_settings;
using transport::ClusterMessage;
using transport::Lane;
using transport::LostReason;
using transport::MessageHandler;
using transport::PeerInfo;
using transport::PeerStats;
using transport::SnapshotResponse;

class ManualClock final : public Clock {
public:
    Deadline now() const override { return now_; }
    std::int64_t wall_ns() const override { return now_.time_since_epoch().count(); }
    void advance(Duration by) { now_ += by; }

private:
    Deadline now_{std::chrono::seconds{1}};
};

struct Letter {
    NodeName from;
    NodeName to;
    std::shared_ptr<const ClusterMessage> message;
};

/// What was sent and has not arrived.
struct Network {
    std::deque<Letter> letters;
    bool up = true;
    std::size_t refusals = 0;  // so many sends find the queue full
};

class FakeBus final : public transport::MessageBus {
public:
    FakeBus(Network& network, NodeName self) : network_{network}, self_{std::move(self)} {}
    Result<> start(MessageHandler&) override { return success(); }
    void stop() override {}
    void set_peers(std::vector<std::string>) override {}
    void set_self(const PeerInfo&) override {}
    bool send(const NodeName& to, Lane lane, std::shared_ptr<const ClusterMessage> message) override {
        EXPECT_EQ(lane, transport::LANE_BULK);
        if (!network_.up) {
            return false;
        }
        if (network_.refusals > 0) {
            --network_.refusals;
            return false;
        }
        network_.letters.push_back({self_, to, std::move(message)});
        return true;
    }
    [[nodiscard]] std::size_t queued_bytes(const NodeName& to, Lane) const override {
        std::size_t bytes = 0;
        for (const Letter& letter : network_.letters) {
            bytes += letter.from == self_ && letter.to == to ? letter.message->ByteSizeLong() : 0;
        }
        return bytes;
    }
    [[nodiscard]] std::vector<PeerStats> stats() const override { return {}; }
    [[nodiscard]] std::string address() const override { return {}; }
    [[nodiscard]] std::string authentication() const override { return "none"; }

private:
    Network& network_;
    const NodeName self_;
};

SnapshotTransferSettings small_chunks() {
    SnapshotTransferSettings settings;
    settings.chunk_bytes = 256;
    settings.window_chunks = 4;
    settings.bytes_per_second = std::uint64_t{1} << 30;
    settings.keep = std::chrono::minutes{1};
    return settings;
}

/// A sender "a" with a state, and receivers "b", "c", …; jobs are run one at a time, or where they are made.
class World {
public:
    ManualClock clock;  // before everybody who is told the time

    struct Receiver {
        Receiver(std::uint64_t seed, Clock& clock)
            : member{engine::make_memory_kv_home(), still_settings(seed), clock} {}
        Member member;
        std::unique_ptr<FakeBus> bus;
        std::unique_ptr<SnapshotReceiver> receiver;
        std::string refuses;  // why it takes none
        Result<> install_fails = success();
        std::size_t installed = 0;
        Term lowest;  // epochs below are refused
    };

    explicit World(std::size_t receivers = 1,
                   const SnapshotTransferSettings& settings = small_chunks(),
                   bool run_inline = false)
        : source{engine::make_memory_kv_home(), still_settings(1), clock}, settings_{settings}, inline_{run_inline} {
        source.fill(600);
        start_sender();
        for (std::size_t i = 0; i < receivers; ++i) {
            const NodeName name(1, static_cast<char>('b' + i));
            this->receivers.emplace(name, std::make_unique<Receiver>(i + 2, clock));
            start_receiver(name);
        }
    }

    void start_sender() {
        bus_ = std::make_unique<FakeBus>(network, "a");
        sender = std::make_unique<SnapshotSender>(
            *source, *bus_, clock, settings_, runner("a"), [this](const NodeName& to, std::optional<LogIndex> index) {
                done[to].push_back(index);
                if (!index && again) {
                    wanted.push_back(to);
                }
            });
    }
    void start_receiver(const NodeName& name) {
        Receiver& r = *receivers.at(name);
        r.bus = std::make_unique<FakeBus>(network, name);
        r.receiver = std::make_unique<SnapshotReceiver>(
            *r.member,
            *r.bus,
            clock,
            runner(name),
            [&r](const NodeName&, Term term, LogIndex, std::string_view, std::string& reason) {
                reason = term < r.lowest ? "stale epoch" : r.refuses;
                return reason.empty();
            },
            [&r](std::unique_ptr<SnapshotImport> import,
                 const SnapshotInfo&,
                 const std::function<void(Result<>)>& installed) {
                Result<> result = r.install_fails;
                if (result) {
                    result = r.member->install(std::move(import));
                } else {
                    import.reset();
                }
                r.installed += result ? 1 : 0;
                installed(result);
            });
    }
    /// The process dies: what it had not run and what was under way to it is gone.
    void kill_sender() {
        sender.reset();
        std::erase_if(jobs, [](const Job& job) { return job.owner == "a"; });
        network.letters.clear();
        source.restart();
        start_sender();
    }
    void kill_receiver(const NodeName& name) {
        Receiver& r = *receivers.at(name);
        r.receiver.reset();
        std::erase_if(jobs, [&](const Job& job) { return job.owner == name; });
        network.letters.clear();
        r.member.close();
        engine::crash_memory_kv_home(r.member.home());
        r.member.open();
        start_receiver(name);
    }
    void cut() {
        network.up = false;
        network.letters.clear();
        for (const auto& [name, r] : receivers) {
            sender->peer_down(name);
        }
    }

    struct Job {
        NodeName owner;
        std::function<void()> work;
    };
    [[nodiscard]] std::function<void(std::function<void()>)> runner(const NodeName& owner) {
        return [this, owner](std::function<void()> work) {
            if (inline_) {
                work();
            } else {
                jobs.push_back({owner, std::move(work)});
            }
        };
    }

    void deliver(const Letter& letter) {
        ++delivered;
        const ClusterMessage& m = *letter.message;
        if (m.has_snapshot_response()) {
            sender->step(letter.from, m.snapshot_response());
        } else if (m.has_snapshot_begin()) {
            begins[letter.to].push_back(m.snapshot_begin().snapshot_id());
            receivers.at(letter.to)->receiver->step(letter.from, m.snapshot_begin());
        } else if (m.has_snapshot_chunk()) {
            ++chunks;
            receivers.at(letter.to)->receiver->step(letter.from, m.snapshot_chunk());
        }
    }
    void deliver_next() {
        const Letter letter = network.letters.front();
        network.letters.pop_front();
        deliver(letter);
    }
    void run_next() {
        const auto job = std::move(jobs.front());
        jobs.pop_front();
        job.work();
    }
    void tick(Duration passed = std::chrono::milliseconds{10}) {
        clock.advance(passed);
        for (const NodeName& to : std::exchange(wanted, {})) {
            sender->send(to, epoch);
        }
        sender->tick();
    }
    /// Everything that is to do, in turn, until `until` holds.
    bool run_until(const std::function<bool()>& until, std::size_t ticks_max = 20'000) {
        for (std::size_t ticks = 0; ticks < ticks_max; ++ticks) {
            while (!network.letters.empty() || !jobs.empty()) {
                if (until()) {
                    return true;
                }
                if (!jobs.empty()) {
                    run_next();
                } else {
                    deliver_next();
                }
            }
            if (until()) {
                return true;
            }
            tick();
        }
        return false;
    }
    [[nodiscard]] bool succeeded(const NodeName& to) const {
        const auto at = done.find(to);
        return at != done.end() && !at->second.empty() && at->second.back().has_value();
    }
    [[nodiscard]] bool failed(const NodeName& to) const {
        const auto at = done.find(to);
        return at != done.end() && !at->second.empty() && !at->second.back().has_value();
    }
    void expect_equal(const NodeName& name) {
        Receiver& r = *receivers.at(name);
        EXPECT_EQ(r.member.digest(), source.digest());
        EXPECT_EQ(r.member->applied_index(), source->applied_index());
        EXPECT_EQ(r.member->history(), source->history());
    }

    Network network;
    Member source;
    std::map<NodeName, std::unique_ptr<Receiver>> receivers;
    std::unique_ptr<SnapshotSender> sender;
    std::deque<Job> jobs;
    std::map<NodeName, std::vector<std::optional<LogIndex>>> done;
    std::map<NodeName, std::vector<std::string>> begins;
    std::vector<NodeName> wanted;
    bool again = true;  // a transfer that failed is asked for again
    Term epoch{3};
    std::size_t delivered = 0;
    std::size_t chunks = 0;

private:
    const SnapshotTransferSettings settings_;
    const bool inline_;
    std::unique_ptr<FakeBus> bus_;
};

TEST(SnapshotTransfer, BringsTheWholeStateAndTellsSo) {
    for (const bool run_inline : {false, true}) {
        World w{1, small_chunks(), run_inline};
        EXPECT_EQ(w.sender->pinned(), std::nullopt);
        w.sender->send("b", w.epoch);
        ASSERT_TRUE(w.run_until([&] { return w.chunks > 3; }));
        EXPECT_EQ(w.sender->pinned(), LogIndex{w.source->applied_index().value + 1});
        EXPECT_FALSE(w.succeeded("b"));
        ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
        w.expect_equal("b");
        EXPECT_EQ(w.done.at("b"), (std::vector<std::optional<LogIndex>>{w.source->applied_index()}));
        EXPECT_EQ(w.receivers.at("b")->installed, 1U);
        EXPECT_EQ(w.sender->pinned(), std::nullopt);
        EXPECT_GT(w.chunks, 20U);
        EXPECT_EQ(w.begins.at("b").size(), 1U);
        EXPECT_EQ(w.sender->bytes_sent(), w.receivers.at("b")->receiver->bytes_received());
    }
}

TEST(SnapshotTransfer, SendsNoMoreThanTheWindowBeforeItIsAcknowledged) {
    World w;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks == 1; }));
    for (int i = 0; i < 100; ++i) {
        while (!w.jobs.empty()) {
            w.run_next();
        }
        w.tick();
    }
    std::size_t chunks = 0;
    for (const Letter& letter : w.network.letters) {
        chunks += letter.message->has_snapshot_chunk() ? 1 : 0;
        EXPECT_LE(letter.message->ByteSizeLong(), 256U + 100U);
    }
    EXPECT_LE(chunks, 4U);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
}

TEST(SnapshotTransfer, KeepsToItsRate) {
    SnapshotTransferSettings settings = small_chunks();
    settings.bytes_per_second = 10'000;
    World w{1, settings};
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 0; }));
    const Deadline began = w.clock.now();
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    const double seconds = std::chrono::duration<double>(w.clock.now() - began).count();
    const auto bytes = static_cast<double>(w.sender->bytes_sent());
    EXPECT_GT(bytes, 20'000);
    EXPECT_GT(seconds, (bytes - 3000) / 10'000);
    EXPECT_LT(seconds, bytes / 10'000 + 2);
    w.expect_equal("b");
}

TEST(SnapshotTransfer, GoesOnWhereItWasCutAtEveryMessage) {
    std::size_t messages = 0;
    std::uint64_t bytes = 0;
    {
        World w;
        w.sender->send("b", w.epoch);
        ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
        messages = w.delivered;
        bytes = w.sender->bytes_sent();
    }
    for (std::size_t at = 0; at <= messages; at += 1 + at / 40) {
        World w;
        w.sender->send("b", w.epoch);
        ASSERT_TRUE(w.run_until([&] { return w.delivered == at; })) << at;
        w.cut();
        w.tick(std::chrono::seconds{2});
        while (!w.jobs.empty()) {
            w.run_next();
        }
        const bool installed = w.receivers.at("b")->installed == 1;
        if (at > 1 && !installed) {
            EXPECT_TRUE(w.failed("b")) << at;
            EXPECT_TRUE(w.sender->pinned()) << "it can be taken up again";
        }
        w.network.up = true;
        ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); })) << at;
        w.expect_equal("b");
        const auto& ids = w.begins.at("b");
        if (!installed && at > 1) {
            EXPECT_EQ(ids.front(), ids.back()) << at;
            EXPECT_LT(w.sender->bytes_sent(), bytes + 10 * 256) << at;
        }
    }
}

TEST(SnapshotTransfer, SurvivesBeingCutManyTimes) {
    World w;
    w.sender->send("b", w.epoch);
    for (std::size_t i = 1; i <= 10; ++i) {
        ASSERT_TRUE(w.run_until([&] { return w.delivered >= i * 15 || w.succeeded("b"); }));
        w.cut();
        w.tick();
        w.network.up = true;
    }
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    w.expect_equal("b");
    EXPECT_EQ(w.begins.at("b").front(), w.begins.at("b").back());
}

TEST(SnapshotTransfer, IsForgottenIfItIsNotTakenUpAgainInTime) {
    World w;
    w.again = false;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 3; }));
    w.cut();
    w.tick(std::chrono::seconds{50});
    EXPECT_TRUE(w.sender->pinned());
    w.tick(std::chrono::seconds{20});
    EXPECT_FALSE(w.sender->pinned());
    w.network.up = true;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    EXPECT_NE(w.begins.at("b").front(), w.begins.at("b").back());
    w.expect_equal("b");
}

TEST(SnapshotTransfer, ARestartedSenderBeginsAnew) {
    World w;
    for (std::size_t at = 1; at < 100; at += 9) {
        const std::size_t from = w.delivered;
        w.sender->send("b", w.epoch);
        ASSERT_TRUE(w.run_until([&] { return w.delivered == from + at || w.succeeded("b"); }));
        w.kill_sender();
        w.done.clear();
        w.source.create(Value{static_cast<std::int64_t>(at)});
    }
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    w.expect_equal("b");
}

TEST(SnapshotTransfer, ARestartedReceiverGoesOn) {
    for (std::size_t at = 1; at < 120; at += 7) {
        World w;
        w.sender->send("b", w.epoch);
        ASSERT_TRUE(w.run_until([&] { return w.delivered == at || w.succeeded("b"); }));
        w.kill_receiver("b");
        w.sender->peer_down("b");
        ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); })) << at;
        w.expect_equal("b");
        EXPECT_EQ(w.begins.at("b").front(), w.begins.at("b").back());
    }
}

TEST(SnapshotTransfer, ADamagedChunkIsSentAgain) {
    World w;
    w.sender->send("b", w.epoch);
    std::size_t damaged = 0;
    for (const std::size_t at : {1U, 5U, 6U, 20U, 21U}) {
        ASSERT_TRUE(w.run_until([&] {
            return w.chunks >= at && !w.network.letters.empty() &&
                   w.network.letters.front().message->has_snapshot_chunk();
        }));
        auto changed = std::make_shared<ClusterMessage>(*w.network.letters.front().message);
        std::string& pairs = *changed->mutable_snapshot_chunk()->mutable_pairs();
        if (!pairs.empty()) {
            pairs[pairs.size() / 2] ^= 0x40;
            ++damaged;
        }
        w.network.letters.front().message = changed;
        w.deliver_next();
    }
    EXPECT_EQ(damaged, 5U);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    w.expect_equal("b");
    EXPECT_GT(w.begins.at("b").size(), 3U);
    EXPECT_EQ(w.done.at("b").size(), 1U) << "it never failed";
}

TEST(SnapshotTransfer, OneThatIsAlwaysDamagedIsGivenUp) {
    World w;
    w.again = false;
    w.sender->send("b", w.epoch);
    for (int i = 0; i < 10'000 && !w.failed("b"); ++i) {
        while (!w.jobs.empty()) {
            w.run_next();
        }
        while (!w.network.letters.empty()) {
            Letter letter = w.network.letters.front();
            w.network.letters.pop_front();
            if (letter.message->has_snapshot_chunk() && letter.message->snapshot_chunk().pair_count() > 20) {
                auto changed = std::make_shared<ClusterMessage>(*letter.message);
                changed->mutable_snapshot_chunk()->set_digest(1);
                letter.message = changed;
            }
            w.deliver(letter);
        }
        w.tick();
    }
    EXPECT_TRUE(w.failed("b"));
    EXPECT_FALSE(w.sender->pinned());
    EXPECT_LT(w.begins.at("b").size(), 40U);
    // Another attempt begins with another export.
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    EXPECT_NE(w.begins.at("b").front(), w.begins.at("b").back());
    w.expect_equal("b");
}

TEST(SnapshotTransfer, LostDoubledAndDisorderedMessagesDoNoHarm) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        World w;
        Random random{seed};
        w.sender->send("b", w.epoch);
        std::size_t steps = 0;
        while (!w.succeeded("b") && ++steps < 60'000) {
            if (!w.jobs.empty() && !random.one_in(3)) {
                w.run_next();
                continue;
            }
            auto& letters = w.network.letters;
            if (letters.empty() || random.one_in(8)) {
                w.tick(std::chrono::milliseconds{10 + random.below(random.one_in(20) ? 3000 : 50)});
                continue;
            }
            if (random.one_in(12) && letters.size() > 1) {
                std::swap(letters[0], letters[1 + random.below(letters.size() - 1)]);
            }
            if (random.one_in(40)) {
                letters.push_back(letters.front());
            }
            if (random.one_in(60)) {
                letters.pop_front();
            } else {
                w.deliver_next();
            }
        }
        ASSERT_TRUE(w.succeeded("b")) << seed;
        w.expect_equal("b");
        // What still comes late changes nothing.
        const std::size_t installed = w.receivers.at("b")->installed;
        w.again = false;
        ASSERT_TRUE(w.run_until([&] { return w.network.letters.empty() && w.jobs.empty(); }));
        EXPECT_GE(installed, 1U);
        w.expect_equal("b");
    }
}

TEST(SnapshotTransfer, TheWordThatItIsInPlaceIsAskedForIfItIsLost) {
    World w;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.receivers.at("b")->installed == 1; }));
    w.network.letters.clear();
    const Deadline then = w.clock.now();
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    EXPECT_LT(w.clock.now() - then, std::chrono::seconds{10});
    EXPECT_EQ(w.receivers.at("b")->installed, 1U);
    EXPECT_EQ(w.done.at("b").size(), 1U);
    w.expect_equal("b");
}

TEST(SnapshotTransfer, ARefusalEndsItAndSaysWhy) {
    World w;
    w.again = false;
    w.receivers.at("b")->refuses = "this member holds other data";
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.failed("b"); }));
    EXPECT_FALSE(w.sender->pinned());
    EXPECT_EQ(w.chunks, 0U);
    w.receivers.at("b")->refuses.clear();
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
}

TEST(SnapshotTransfer, OneThatIsNotWantedAnyMoreWhenItIsWholeChangesNothing) {
    World w;
    w.again = false;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 3; }));
    World::Receiver& r = *w.receivers.at("b");
    const std::uint64_t before = r.member.digest();
    r.lowest = Term{4};  // it voted, or leads itself
    ASSERT_TRUE(w.run_until([&] { return w.failed("b"); }));
    EXPECT_EQ(r.member.digest(), before);
    EXPECT_EQ(r.installed, 0U);
}

TEST(SnapshotTransfer, AnotherEpochGoesOnWithTheSameState) {
    World w;
    w.sender->send("b", Term{3});
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 10; }));
    const std::uint64_t sent = w.sender->bytes_sent();
    w.receivers.at("b")->lowest = Term{5};
    w.epoch = Term{5};
    w.sender->send("b", Term{5});
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    w.expect_equal("b");
    EXPECT_EQ(w.begins.at("b"), (std::vector<std::string>{w.begins.at("b")[0], w.begins.at("b")[0]}));
    EXPECT_GT(sent, 0U);
    EXPECT_EQ(w.done.at("b").size(), 1U);
}

TEST(SnapshotTransfer, ASenderOfAnOlderEpochIsDroppedByWhoFollowsANewerOne) {
    World w{1};
    w.sender->send("b", Term{3});
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 5; }));
    // Another primary, of epoch 4, with another state.
    World::Receiver& r = *w.receivers.at("b");
    Member other{engine::make_memory_kv_home(), still_settings(77)};
    other.fill(20);
    const auto out = other->begin_export().value();
    ClusterMessage begin;
    auto& b = *begin.mutable_snapshot_begin();
    b.set_epoch(4);
    b.set_snapshot_id(out->info().id);
    b.set_index(out->info().index.value);
    b.set_index_epoch(out->info().term.value);
    b.set_history(out->info().history);
    r.receiver->step("x", begin.snapshot_begin());
    std::uint64_t sequence = 0;
    w.again = false;
    for (int i = 0; i < 50; ++i) {
        while (!w.jobs.empty()) {
            w.run_next();
        }
        while (!w.network.letters.empty()) {
            const Letter letter = w.network.letters.front();
            w.network.letters.pop_front();
            if (letter.to != "x") {
                w.deliver(letter);
            }
        }
        w.tick();
        if (i > 2 && r.installed == 0) {
            const auto chunk = out->next(1000).value();
            transport::SnapshotChunk c;
            c.set_epoch(4);
            c.set_snapshot_id(out->info().id);
            c.set_sequence(++sequence);
            c.set_pairs(chunk.pairs);
            c.set_crc32c(chunk.crc32c);
            c.set_last(chunk.last);
            c.set_pair_count(chunk.pair_count);
            c.set_digest(chunk.digest);
            r.receiver->step("x", c);
        }
    }
    EXPECT_EQ(r.installed, 1U);
    EXPECT_EQ(r.member.digest(), other.digest());
}

TEST(SnapshotTransfer, ReceiversThatAskTogetherShareAnExportAndAThirdWaits) {
    World w{3};
    for (const char* name : {"b", "c", "d"}) {
        w.sender->send(name, w.epoch);
    }
    ASSERT_TRUE(w.run_until([&] { return w.begins.size() == 2; }));
    const std::uint64_t checkpoints = w.source->stats().checkpoints;
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b") && w.succeeded("c"); }));
    EXPECT_EQ(w.begins.at("b").front(), w.begins.at("c").front());
    EXPECT_EQ(w.source->stats().checkpoints, checkpoints);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("d"); }));
    for (const char* name : {"b", "c", "d"}) {
        w.expect_equal(name);
    }
}

TEST(SnapshotTransfer, AStateOlderThanTheLogIsNeitherSharedNorTakenUpAgain) {
    World w{2};
    w.again = false;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 3; }));
    w.source.create(Value{std::int64_t{1}});
    const LogIndex now = w.source->applied_index();  // where the log begins, by the time that c asks
    w.sender->send("c", w.epoch, now);
    ASSERT_TRUE(w.run_until([&] { return w.begins.contains("c"); }));
    EXPECT_NE(w.begins.at("c").front(), w.begins.at("b").front()) << "no entry would follow such a state";
    w.cut();
    w.tick();
    w.network.up = true;
    w.sender->send("b", w.epoch, now);
    w.sender->send("c", w.epoch, now);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b") && w.succeeded("c"); }));
    EXPECT_NE(w.begins.at("b").back(), w.begins.at("b").front());
    w.expect_equal("b");
    w.expect_equal("c");
}

TEST(SnapshotTransfer, TwoShareTheRateFairly) {
    SnapshotTransferSettings settings = small_chunks();
    settings.bytes_per_second = 20'000;
    World w{2, settings};
    w.sender->send("b", w.epoch);
    w.sender->send("c", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.sender->bytes_sent() > 20'000; }));
    const auto b = static_cast<double>(w.receivers.at("b")->receiver->bytes_received());
    const auto c = static_cast<double>(w.receivers.at("c")->receiver->bytes_received());
    EXPECT_GT(b / (b + c), 0.3);
    EXPECT_LT(b / (b + c), 0.7);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b") && w.succeeded("c"); }));
}

TEST(SnapshotTransfer, AFullQueueIsWaitedFor) {
    World w;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 3; }));
    w.network.refusals = 20;
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    EXPECT_EQ(w.done.at("b").size(), 1U);
    w.expect_equal("b");
}

TEST(SnapshotTransfer, AnInstallationThatFailsIsRefusedAndTheNextAttemptSendsNothingTwice) {
    World w;
    World::Receiver& r = *w.receivers.at("b");
    r.install_fails = Error{ErrorCode::kIo, "the disk said no"};
    w.again = false;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.failed("b"); }));
    r.install_fails = success();
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    w.expect_equal("b");
}

TEST(SnapshotTransfer, AMemberThatDiedBeforePuttingItInPlaceDoesSoWhenItIsOfferedAgain) {
    World w;
    World::Receiver& r = *w.receivers.at("b");
    r.install_fails = Error{ErrorCode::kIo, "it dies here"};
    w.again = false;
    w.sender->send("b", w.epoch);
    // The refusal never arrives.
    ASSERT_TRUE(w.run_until([&] {
        for (const Letter& letter : w.network.letters) {
            if (letter.message->has_snapshot_response() &&
                letter.message->snapshot_response().outcome() == SnapshotResponse::REFUSED) {
                return true;
            }
        }
        return false;
    }));
    r.install_fails = success();
    w.kill_receiver("b");
    w.sender->peer_down("b");
    const std::size_t chunks = w.chunks;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    EXPECT_EQ(w.chunks, chunks) << "all of it was there";
    w.expect_equal("b");
}

TEST(SnapshotTransfer, WhatArrivedAndIsNeverTakenUpAgainGivesItsRoomBack) {
    World w;
    w.again = false;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 10; }));
    w.cut();
    World::Receiver& r = *w.receivers.at("b");
    r.receiver->tick();
    while (!w.jobs.empty()) {
        w.run_next();
    }
    const auto held = r.member.home().open_incoming();
    ASSERT_FALSE(held) << "it is open and kept";
    w.clock.advance(std::chrono::minutes{31});
    r.receiver->tick();
    while (!w.jobs.empty()) {
        w.run_next();
    }
    {
        const auto empty = r.member.home().open_incoming();
        ASSERT_TRUE(empty);
        EXPECT_FALSE(empty.value()->get("mimport").value());
    }
    w.tick();
    w.network.up = true;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.succeeded("b"); }));
    w.expect_equal("b");
}

TEST(SnapshotTransfer, NothingRunsOnceItWasStopped) {
    World w;
    w.sender->send("b", w.epoch);
    ASSERT_TRUE(w.run_until([&] { return w.chunks > 3; }));
    w.sender->stop();
    w.receivers.at("b")->receiver->stop();
    const std::uint64_t sent = w.sender->bytes_sent();
    for (int i = 0; i < 50; ++i) {
        while (!w.jobs.empty()) {
            w.run_next();
        }
        while (!w.network.letters.empty()) {
            w.deliver_next();
        }
        w.tick();
    }
    EXPECT_EQ(w.sender->bytes_sent(), sent);
    EXPECT_TRUE(w.done.empty());
    w.sender->send("b", w.epoch);
    EXPECT_FALSE(w.sender->pinned());
}

TEST(SnapshotTransfer, TheSameMessagesGiveTheSameTransfer) {
    std::vector<std::string> traces;
    for (int i = 0; i < 2; ++i) {
        World w{2};
        w.sender->send("b", w.epoch);
        w.sender->send("c", w.epoch);
        std::string trace;
        while (!(w.succeeded("b") && w.succeeded("c"))) {
            if (!w.jobs.empty()) {
                w.run_next();
            } else if (!w.network.letters.empty()) {
                trace += w.network.letters.front().message->SerializeAsString();
                w.deliver_next();
            } else {
                w.tick();
            }
        }
        traces.push_back(std::move(trace));
    }
    EXPECT_TRUE(traces[0] == traces[1]);
}

// ---- With threads, as a server runs it

/// Does what it is given, one after another, on a thread of its own.
class Worker {
public:
    Worker() : thread_{[this] { loop(); }} {}
    ~Worker() {
        give([this] { ended_ = true; });
        thread_.join();
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    void give(std::function<void()> work) {
        const MutexLock lock{mutex_};
        work_.push_back(std::move(work));
        wake_.notify_one();
    }

private:
    void loop() {
        while (!ended_) {
            std::function<void()> work;
            {
                MutexLock lock{mutex_};
                while (work_.empty()) {
                    wake_.wait(lock);
                }
                work = std::move(work_.front());
                work_.pop_front();
            }
            work();
        }
    }
    Mutex mutex_;
    ConditionVariable wake_;
    std::deque<std::function<void()>> work_ GUARDED_BY(mutex_);
    bool ended_ = false;  // the thread's own
    std::thread thread_;
};

/// Delivers on the thread of the other side's network.
class ThreadedBus final : public transport::MessageBus {
public:
    using Deliver = std::function<void(std::shared_ptr<const ClusterMessage>)>;
    ThreadedBus(Worker& network, Deliver deliver)
        : network_{network}, deliver_{std::make_shared<const Deliver>(std::move(deliver))} {}
    Result<> start(MessageHandler&) override { return success(); }
    void stop() override {}
    void set_peers(std::vector<std::string>) override {}
    void set_self(const PeerInfo&) override {}
    bool send(const NodeName&, Lane, std::shared_ptr<const ClusterMessage> message) override {
        // The worker outlives this bus and still delivers what was sent.
        network_.give([deliver = deliver_, message = std::move(message)] { (*deliver)(message); });
        return true;
    }
    [[nodiscard]] std::size_t queued_bytes(const NodeName&, Lane) const override { return 0; }
    [[nodiscard]] std::vector<PeerStats> stats() const override { return {}; }
    [[nodiscard]] std::string address() const override { return {}; }
    [[nodiscard]] std::string authentication() const override { return "none"; }

private:
    Worker& network_;
    const std::shared_ptr<const Deliver> deliver_;
};

TEST(SnapshotTransfer, RunsOnThreadsBesideWritesAndIsCutAndStoppedAtAnyMoment) {
    for (const bool stop_early : {false, true}) {
        Member source{engine::make_memory_kv_home(), engine::Settings{}};
        source.fill(5000);
        Member target{engine::make_memory_kv_home(), engine::Settings{}};
        std::unique_ptr<SnapshotSender> sender;
        std::unique_ptr<SnapshotReceiver> receiver;
        std::atomic<std::uint64_t> installed{0};
        std::atomic<bool> cut{false};
        {
            Worker network_of_source;
            Worker network_of_target;
            Worker work_of_source;
            Worker work_of_target;
            ThreadedBus source_bus{network_of_target, [&](const auto& m) {
                                       if (m->has_snapshot_begin()) {
                                           receiver->step("a", m->snapshot_begin());
                                       } else {
                                           receiver->step("a", m->snapshot_chunk());
                                       }
                                   }};
            ThreadedBus target_bus{network_of_source,
                                   [&](const auto& m) { sender->step("b", m->snapshot_response()); }};
            SnapshotTransferSettings settings = small_chunks();
            settings.chunk_bytes = 1024;
            sender = std::make_unique<SnapshotSender>(
                *source,
                source_bus,
                system_clock(),
                settings,
                [&](std::function<void()> work) { work_of_source.give(std::move(work)); },
                [&](const NodeName& to, std::optional<LogIndex> index) {
                    if (index) {
                        installed = index->value;
                    } else {
                        sender->send(to, Term{1});
                    }
                });
            receiver = std::make_unique<SnapshotReceiver>(
                *target,
                target_bus,
                system_clock(),
                [&](std::function<void()> work) { work_of_target.give(std::move(work)); },
                [](const NodeName&, Term, LogIndex, std::string_view, std::string&) { return true; },
                [&](std::unique_ptr<SnapshotImport> import,
                    const SnapshotInfo&,
                    const std::function<void(Result<>)>& done) { done(target->install(std::move(import))); });
            sender->send("b", Term{1});
            const std::uint64_t stop_at = stop_early ? 20'000 : UINT64_MAX;
            for (int i = 0; installed == 0 && sender->bytes_sent() < stop_at; ++i) {
                sender->tick();
                if (i % 50 == 49 && !cut.exchange(true)) {
                    sender->peer_down("b");
                }
                source.create(Value{std::int64_t{i}});
                static_cast<void>(sender->pinned());
            }
            sender->stop();
            receiver->stop();
        }
        if (!stop_early) {
            EXPECT_EQ(target->applied_index(), LogIndex{installed});
            for (std::uint64_t i = installed; i < source.log.size(); ++i) {
                ASSERT_TRUE(target->apply(source.log[i]));
            }
            EXPECT_EQ(target.digest(), source.digest());
        }
    }
}

}  // namespace
}  // namespace nornic::modes
