// set: each write is there once or not at all. counter: no addition is lost.
#include "tests/sim/checker.h"
#include "tests/sim/workload_support.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace nornic::sim {
namespace {

std::map<std::int64_t, std::uint64_t> numbers_of(engine::GraphReader& reader, std::string_view label) {
    std::map<std::int64_t, std::uint64_t> out;
    for (const NodeId id : nodes_of(reader, label)) {
        ++out[integer_of(reader, id, "n")];
    }
    return out;
}

/// Each write is a node with a number of its own. In the end: each acknowledged one once, no refused one, each unknown
/// one at most once.
class SetWorkload final : public Workload {
public:
    explicit SetWorkload(World& world) : world_{world} {}

    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        const std::int64_t number = ++last_;
        // Now and then one that spans sectors, batches and chunks.
        const std::size_t bytes = world_.random.one_in(16) ? world_.random.below(4000) : 0;
        const auto body = [number, bytes](Transaction& tx) -> Result<bool> {
            NORNIC_TRY(const NodeId id, create_node(tx, "Number", {{"n", number}}));
            if (bytes != 0) {
                NORNIC_TRY(const PropertyKeyId key, tx.property_key_or_create("text"));
                NORNIC_TRY(tx.set_property(id, key, Value{std::string(bytes, static_cast<char>('a' + number % 26))}));
            }
            return true;
        };
        node.transact(think, body, [this, number, done = std::move(done)](const Answer& answer) {
            answers_.emplace(number, answer);
            done(answer);
        });
    }

    void read(Node& node, std::function<void()> done) override {
        if (!world_.random.one_in(6)) {  // the set grows, and so does what it costs to look at
            done();
            return;
        }
        read_at(
            node,
            {},
            [this, &node](Transaction& tx) {
                for (const auto& [number, times] : numbers_of(tx, "Number")) {
                    check_once(node, number, times);
                }
            },
            [done = std::move(done)](ReadEnd) { done(); });
    }

    void judge(Node& primary) override {
        const auto reader = read_now(primary);
        if (!reader) {
            return;
        }
        const auto there = numbers_of(*reader, "Number");
        for (const auto& [number, times] : there) {
            check_once(primary, number, times);
        }
        for (const auto& [number, answer] : answers_) {
            const std::uint64_t times = there.contains(number) ? 1 : 0;
            const bool wanted = answer.outcome == Outcome::kCommitted && world_.checker->survived(answer.committed);
            if (answer.outcome == Outcome::kCommitted && times != (wanted ? 1 : 0)) {
                world_.violate(fmt::format("number {} was acknowledged as entry {} of epoch {}, which {}, and it is {}",
                                           number,
                                           answer.committed.index.value,
                                           answer.committed.term.value,
                                           wanted ? "is still there" : "was given up",
                                           times != 0 ? "there" : "not there"));
            }
        }
    }

private:
    void check_once(Node& node, std::int64_t number, std::uint64_t times) {
        const auto answer = answers_.find(number);
        if (times != 1 || number > last_) {
            world_.violate(fmt::format("number {} is there {} times on {}", number, times, node.id()));
        } else if (answer != answers_.end() && answer->second.outcome == Outcome::kRefused &&
                   world_.forced == 0) {
            world_.violate(fmt::format(
                "number {} was refused ({}) and is there on {}", number, answer->second.error, node.id()));
        }
    }

    World& world_;
    std::int64_t last_ = 0;
    std::map<std::int64_t, Answer> answers_;
};

/// Every transaction adds one to one number, and a node that says so. Wherever one looks both agree: no update is lost,
/// none is half there.
class CounterWorkload final : public Workload {
public:
    explicit CounterWorkload(World& world) : world_{world} {}

    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        const std::int64_t number = ++last_;
        const auto body = [number](Transaction& tx) -> Result<bool> {
            auto counters = nodes_of(tx, "Counter");
            if (counters.empty()) {
                NORNIC_TRY(const LabelId label, tx.label_or_create("Counter"));
                NORNIC_TRY(tx.lock_for_merge(label, {}));
                counters = nodes_of(tx, "Counter");
            }
            if (counters.empty()) {
                NORNIC_TRY(create_node(tx, "Counter", {{"n", 1}}));
            } else {
                NORNIC_TRY(set_integer(tx, counters.front(), "n", integer_of(tx, counters.front(), "n") + 1));
            }
            NORNIC_TRY(create_node(tx, "Addition", {{"n", number}}));
            return true;
        };
        node.transact(think, body, [this, done = std::move(done)](const Answer& answer) {
            if (answer.outcome == Outcome::kCommitted) {
                acknowledged_.push_back(answer.committed);
            }
            unknown_ += answer.outcome == Outcome::kUnknown ? 1 : 0;
            done(answer);
        });
    }

    void read(Node& node, std::function<void()> done) override {
        if (!world_.random.one_in(2)) {
            done();
            return;
        }
        read_at(
            node, {}, [this, &node](Transaction& tx) { look(node, tx); }, [done = std::move(done)](ReadEnd) { done(); });
    }

    void judge(Node& primary) override {
        const auto reader = read_now(primary);
        if (!reader) {
            return;
        }
        const std::uint64_t value = look(primary, *reader);
        std::uint64_t least = 0;
        for (const modes::Committed& committed : acknowledged_) {
            least += world_.checker->survived(committed) ? 1 : 0;
        }
        if (value < least || value > least + unknown_) {
            world_.violate(fmt::format("the counter stands at {}; {} additions were acknowledged and kept, {} are unknown",
                                       value,
                                       least,
                                       unknown_));
        }
    }

private:
    std::uint64_t look(Node& node, Transaction& tx) {
        const auto counters = nodes_of(tx, "Counter");
        const std::uint64_t additions = nodes_of(tx, "Addition").size();
        const std::uint64_t value =
            counters.empty() ? 0 : static_cast<std::uint64_t>(integer_of(tx, counters.front(), "n"));
        if (counters.size() > 1 || value != additions) {
            world_.violate(fmt::format("on {} {} counters stand at {} after {} additions, at entry {}",
                                       node.id(),
                                       counters.size(),
                                       value,
                                       additions,
                                       tx.snapshot().value));
        }
        return value;
    }

    World& world_;
    std::int64_t last_ = 0;
    std::vector<modes::Committed> acknowledged_;
    std::uint64_t unknown_ = 0;
};

}  // namespace

std::unique_ptr<Workload> make_set(World& world) {
    return std::make_unique<SetWorkload>(world);
}
std::unique_ptr<Workload> make_counter(World& world) {
    return std::make_unique<CounterWorkload>(world);
}

}  // namespace nornic::sim
