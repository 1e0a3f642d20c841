#include "modes/standalone/standalone.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

namespace nornic::modes {
namespace {

class Standalone final : public Strategy {
public:
    explicit Standalone(const StrategyStart& start)
        : start_{start},
          term_{std::max(start.hard_state.term, Term{1})},
          last_{start.last_index},
          persisted_{start.last_index},
          applied_{start.applied} {
        // Everything the disk holds was synced or is about to be replayed: with one member, both
        // commit it.
        committed_ = last_;
        ready_.leader_changes.push_back({term_, {}, start.self, "it started; there are no other members"});
    }

    [[nodiscard]] std::string_view name() const noexcept override { return "standalone"; }

    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override {
        if (last_.value - applied_.value >= start_.inflight_max ||
            (inflight_bytes_ > 0 &&
             inflight_bytes_ + write_set.size() > start_.inflight_bytes_max)) {
            return fail(ErrorCode::kBusy,
                        fmt::format("{} writes ({} bytes) are waiting for the disk",
                                    last_.value - applied_.value,
                                    inflight_bytes_));
        }
        ++last_;
        inflight_bytes_ += write_set.size();
        sizes_.push_back(write_set.size());
        ready_.placed.push_back({id, last_, term_});
        ready_.entries.push_back(
            {term_, last_, hybrid_time, EntryKind::kWriteSet, std::move(write_set)});
        return success();
    }

    Result<> read(ReadId id, ReadConsistency) override {
        // What is acknowledged is applied; waiting for the rest would only be later than asked.
        ready_.reads.push_back({id, applied_});
        return success();
    }

    Ready take_ready() override {
        NORNIC_CHECK(taken_ == persisted_, "taken={} persisted={}", taken_.value, persisted_.value);
        Ready out = std::move(ready_);
        ready_ = Ready{};
        out.committed = committed_;
        taken_ = last_;
        return out;
    }

    void persisted(LogIndex last) override {
        NORNIC_CHECK(last >= persisted_ && last <= last_,
                     "persisted {} outside {}..{}",
                     last.value,
                     persisted_.value,
                     last_.value);
        persisted_ = last;
        taken_ = last;
        committed_ = last;  // A majority of one.
    }

    void not_persisted(LogIndex first) override {
        NORNIC_CHECK(first > persisted_, "first={} persisted={}", first.value, persisted_.value);
        // Proposals that came in meanwhile stand behind the ones that failed; renumber them.
        const std::uint64_t lost = taken_.value - persisted_.value;
        for (std::uint64_t n = 0; n < lost; ++n) {
            const auto it =
                sizes_.begin() + static_cast<std::ptrdiff_t>(persisted_.value - applied_.value);
            inflight_bytes_ -= *it;
            sizes_.erase(it);
        }
        for (Entry& entry : ready_.entries) {
            entry.index.value -= lost;
        }
        for (Placed& placed : ready_.placed) {
            placed.index.value -= lost;
        }
        last_.value -= lost;
        taken_ = persisted_;
    }

    void applied(LogIndex last) override {
        NORNIC_CHECK(last >= applied_ && last <= committed_,
                     "applied {} outside {}..{}",
                     last.value,
                     applied_.value,
                     committed_.value);
        for (std::uint64_t n = last.value - applied_.value; n > 0 && !sizes_.empty(); --n) {
            inflight_bytes_ -= sizes_.front();
            sizes_.pop_front();
        }
        applied_ = last;
    }

    [[nodiscard]] Term write_term() const override { return term_; }
    [[nodiscard]] ClusterView view() const override {
        ClusterView view;
        view.mode = "standalone";
        view.self = start_.self;
        view.role = Role::kStandalone;
        view.leader = start_.self;
        view.term = term_;
        view.commit_index = committed_;
        MemberView self;
        self.id = start_.self;
        self.bolt_address = start_.bolt_address;
        self.http_address = start_.http_address;
        self.role = Role::kStandalone;
        self.match_index = committed_;
        self.applied_index = applied_;
        view.members.push_back(std::move(self));
        return view;
    }

private:
    const StrategyStart start_;
    const Term term_;
    LogIndex last_;  // of the log as it will be once ready_ is persisted
    LogIndex taken_ = start_.last_index;
    LogIndex persisted_;  // applied_ <= committed_ == persisted_ <= last_
    LogIndex committed_;
    LogIndex applied_;
    std::deque<std::size_t> sizes_;  // of the writes past applied_, oldest first
    std::size_t inflight_bytes_ = 0;
    Ready ready_;
};

}  // namespace

std::unique_ptr<Strategy> make_standalone(const StrategyStart& start) {
    return std::make_unique<Standalone>(start);
}

}  // namespace nornic::modes
