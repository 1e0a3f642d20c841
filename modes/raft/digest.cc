// Members compare what they hold (practice A31). Now and then the leader puts a mark in the log; each member reads its state as
// of the mark and tells the leader the digest. Who differs from a majority of those that answered serves nobody until it was
// rebuilt. A digest that could not be made is never taken for an equal one.
#include "base/check.h"
#include "engine/snapshot.h"
#include "modes/raft/strategy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace nornic::modes {

using transport::StateVerdict;

namespace {

constexpr std::uint64_t kSettleMs = 60'000;          // after an election, before the first comparison
constexpr std::uint64_t kRepeatMs = 1'000;           // what a peer may have missed is said again
constexpr std::uint64_t kForgetAfterRepeats = 5;     // a peer that has not said for so long that it is in quarantine
constexpr std::size_t kReasonBytesMax = 200;

std::string names_of(const std::vector<NodeName>& members) {
    return fmt::format("'{}'", fmt::join(members, "', '"));
}

}  // namespace

std::uint64_t Raft::ticks_of(std::uint64_t ms) const {
    return std::max<std::uint64_t>(1, ms / std::max(1U, settings_.tick_ms));
}

std::vector<NodeName> Raft::data_members() const {
    std::vector<NodeName> out;
    for (const auto& [id, member] : core_.configuration().members) {
        if (!member.witness) {
            out.push_back(id);
        }
    }
    return out;
}

void Raft::watch_digests() {
    const std::uint64_t repeat = ticks_of(kRepeatMs);
    if (std::erase_if(quarantined_peers_, [&](const auto& peer) { return tick_ - peer.second > kForgetAfterRepeats * repeat; }) > 0) {
        note_unfit();
    }
    if (quarantine_ != recorded_quarantine_) {
        core_.write_hard_state();
    }
    const bool again = tick_ % repeat == 0;
    if (quarantine_ && again) {
        for (const auto& [id, info] : infos_) {
            tell_verdict(id, *quarantine_, StateVerdict::IN_QUARANTINE);
        }
    }
    if (core_.role() != raft::Role::kLeader) {
        comparison_.reset();
        odd_.clear();
        digest_due_tick_ = 0;
        return;
    }
    if (again) {
        std::erase_if(odd_, [&](const auto& odd) { return quarantined_peers_.contains(odd.first); });
        for (const auto& [id, index] : odd_) {
            tell_verdict(id, index, StateVerdict::ODD);
        }
    }
    if (comparison_) {
        watch_comparison();
    } else if (settings_.digest_interval_ticks != 0) {
        if (digest_due_tick_ == 0) {
            digest_due_tick_ = tick_ + std::min(ticks_of(kSettleMs), settings_.digest_interval_ticks);
        }
        if (tick_ >= digest_due_tick_ && write_term().value != 0 && data_members().size() > 1) {
            begin_comparison();
        }
    }
}

void Raft::begin_comparison() {
    if (auto index = core_.propose(raft::EntryKind::kNoop, comparison_mark(), 0)) {
        comparison_ = Comparison{.index = index.value(), .began_tick = tick_};
        digest_due_tick_ = tick_ + settings_.digest_interval_ticks;
    }
}

/// Others may take as long again as this member did, whose state is as large as theirs.
void Raft::watch_comparison() {
    const std::vector<NodeName> members = data_members();
    const bool all = std::ranges::all_of(members, [&](const NodeName& id) { return comparison_->answers.contains(id); });
    const std::uint64_t patience = std::max(ticks_of(kSettleMs), comparison_->own_ticks);
    const bool given_up = comparison_->own_ticks != 0
                              ? tick_ - comparison_->began_tick >= comparison_->own_ticks + patience
                              : tick_ - comparison_->began_tick >= 2 * std::max(settings_.digest_interval_ticks, ticks_of(kSettleMs));
    if (all || given_up) {
        const Comparison comparison = std::move(*comparison_);
        comparison_.reset();
        judge(comparison, members);
    }
}

void Raft::judge(const Comparison& comparison, const std::vector<NodeName>& members) {
    std::map<std::uint64_t, std::vector<NodeName>> groups;
    std::size_t answered = 0;
    std::string without;
    for (const NodeName& id : members) {
        const auto answer = comparison.answers.find(id);
        if (answer != comparison.answers.end() && answer->second) {
            groups[answer->second.value()].push_back(id);
            ++answered;
        } else {
            without += fmt::format("{}'{}' ({})",
                                   without.empty() ? " Not compared: " : ", ",
                                   id,
                                   answer == comparison.answers.end() ? "no answer" : answer->second.error().message());
        }
    }
    without += without.empty() ? "" : ".";
    if (answered < 2) {
        event(fmt::format("The members' data could not be compared at log index {}.{}", comparison.index.value, without));
        return;
    }
    ++comparisons_;
    const auto tell = [&](const NodeName& id, StateVerdict::Kind kind) {
        if (id == start_.self) {
            take_verdict(comparison.index, kind);
        } else {
            tell_verdict(id, comparison.index, kind);
        }
    };
    if (groups.size() == 1) {
        event(fmt::format("The data of {} is equal at log index {}.{}",
                          names_of(groups.begin()->second),
                          comparison.index.value,
                          without));
        for (const NodeName& id : groups.begin()->second) {
            odd_.erase(id);
            tell(id, StateVerdict::AGREED);
        }
        return;
    }
    const auto most = std::ranges::max_element(groups, {}, [](const auto& group) { return group.second.size(); });
    const std::vector<NodeName> agreeing = most->second;
    std::vector<NodeName> others;
    for (const auto& [digest, group] : groups) {
        if (digest != most->first) {
            others.insert(others.end(), group.begin(), group.end());
        }
    }
    // One of them must be able to lead, or the cure would be worse.
    const bool can_lead = std::ranges::any_of(agreeing, [&](const NodeName& id) {
        const raft::Member* member = core_.configuration().find(id);
        return member != nullptr && member->voter && member->priority > 0;
    });
    const bool decided = 2 * agreeing.size() > answered && can_lead;
    if (decided) {
        error(fmt::format("The data of {} differs from that of {} at log index {}: it goes into quarantine.{}",
                          names_of(others),
                          names_of(agreeing),
                          comparison.index.value,
                          without));
    } else {
        error(fmt::format("The members' data differs at log index {}, and no majority says whose is right: {} against {}. Compare "
                          "them, empty the data directory of the one that is wrong and start it again.{}",
                          comparison.index.value,
                          names_of(agreeing),
                          names_of(others),
                          without));
    }
    if (std::ranges::find(others, start_.self) == others.end() && decided) {
        ++mismatches_;  // else take_verdict() counts it
    }
    for (const NodeName& id : others) {
        if (decided && id != start_.self) {
            odd_[id] = comparison.index;
        }
        tell(id, decided ? StateVerdict::ODD : StateVerdict::UNDECIDED);
    }
    for (const NodeName& id : agreeing) {
        tell(id, decided ? StateVerdict::AGREED : StateVerdict::UNDECIDED);
    }
}

// ---- What is said ----

void Raft::state_digest(LogIndex index, const Result<std::uint64_t>& digest) {
    own_digest_index_ = digest ? index : LogIndex{0};
    if (core_.role() == raft::Role::kLeader) {
        if (comparison_ && comparison_->index == index) {
            comparison_->answers.insert_or_assign(start_.self, digest);
            comparison_->own_ticks = std::max<std::uint64_t>(1, tick_ - comparison_->began_tick);
        }
        return;
    }
    if (core_.leader().empty()) {
        return;
    }
    ClusterMessage message;
    auto& out = *message.mutable_state_digest();
    out.set_index(index.value);
    out.set_version(engine::kStateDigestVersion);
    out.set_computed(digest.has_value());
    if (digest) {
        out.set_digest(digest.value());
    } else {
        out.set_reason(digest.error().message().substr(0, kReasonBytesMax));
    }
    say(core_.leader(), std::move(message));
}

void Raft::on_state_digest(const NodeName& from, const transport::StateDigest& m) {
    if (core_.role() != raft::Role::kLeader || !comparison_ || m.index() != comparison_->index.value) {
        return;
    }
    Result<std::uint64_t> digest = m.digest();
    if (m.version() != engine::kStateDigestVersion) {
        digest = fail(ErrorCode::kUnsupported, "its version makes digests in another way");
    } else if (!m.computed()) {
        digest = fail(ErrorCode::kIo, m.reason().substr(0, kReasonBytesMax));
    }
    comparison_->answers.insert_or_assign(from, std::move(digest));
}

void Raft::tell_verdict(const NodeName& to, LogIndex index, StateVerdict::Kind kind) {
    ClusterMessage message;
    auto& out = *message.mutable_state_verdict();
    out.set_term(core_.term().value);
    out.set_index(index.value);
    out.set_kind(kind);
    say(to, std::move(message));
}

void Raft::on_state_verdict(const NodeName& from, const StateVerdict& m) {
    if (m.kind() == StateVerdict::IN_QUARANTINE) {
        if (quarantined_peers_.insert_or_assign(from, tick_).second) {
            event(fmt::format("'{}' is in quarantine: its data differed at log index {}.", from, m.index()));
            note_unfit();
        }
        return;
    }
    // Of the leader that this member follows, and about what it said itself.
    if (from == core_.leader() && m.term() == core_.term().value && m.index() != 0 && m.index() == own_digest_index_.value) {
        take_verdict(LogIndex{m.index()}, m.kind());
    }
}

void Raft::take_verdict(LogIndex index, StateVerdict::Kind kind) {
    switch (kind) {
        case StateVerdict::AGREED:
            compared_index_ = index;
            alarm_.reset();
            return;
        case StateVerdict::ODD:
            enter_quarantine(index);
            return;
        case StateVerdict::UNDECIDED:
            if (alarm_ != index) {
                ++mismatches_;
                alarm_ = index;
                error(fmt::format("The data of this member and of others differs at log index {}.", index.value));
            }
            return;
        default:
            return;
    }
}

// ---- Quarantine ----

void Raft::enter_quarantine(LogIndex index) {
    if (quarantine_ || is_witness()) {
        return;
    }
    ++mismatches_;
    quarantine_ = index;
    alarm_.reset();
    core_.write_hard_state();
    note_unfit();  // a leader hands over as soon as there is somebody to take it
    error(fmt::format("This member is in quarantine: {}.", why_quarantined()));
    for (const auto& [id, info] : infos_) {
        tell_verdict(id, index, StateVerdict::IN_QUARANTINE);
    }
}

/// The state is the leader's now.
void Raft::leave_quarantine() {
    own_digest_index_ = LogIndex{0};
    alarm_.reset();
    if (quarantine_) {
        quarantine_.reset();
        note_unfit();
        event("This member has left quarantine: its data was replaced by the leader's.");
    }
}

std::string Raft::why_quarantined() const {
    NORNIC_CHECK(quarantine_.has_value(), "it is not in quarantine");
    return fmt::format("its data differed from that of the other members at log index {}; stop it, empty its data directory and "
                       "start it again: it is rebuilt from the leader's",
                       quarantine_->value);
}

void Raft::note_unfit() {
    std::set<NodeName> unfit;
    for (const auto& [id, tick] : quarantined_peers_) {
        unfit.insert(id);
    }
    if (quarantine_) {
        unfit.insert(start_.self);
    }
    core_.set_unfit(std::move(unfit));
}

}  // namespace nornic::modes
