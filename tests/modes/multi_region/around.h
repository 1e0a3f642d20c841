// A strategy around a region's own (World::Options::around) that passes everything on; a test says what it does otherwise.
#pragma once

#include "modes/strategy.h"

#include <memory>
#include <string>
#include <utility>

namespace nornic::modes::regions {

class Around : public Strategy {
public:
    explicit Around(std::unique_ptr<Strategy> local) : local_{std::move(local)} {}
    [[nodiscard]] std::string_view name() const noexcept override { return local_->name(); }
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override {
        return local_->propose(id, std::move(write_set), hybrid_time);
    }
    Result<> read(ReadId id, ReadConsistency level) override { return local_->read(id, level); }
    Ready take_ready() override { return local_->take_ready(); }
    void persisted(LogIndex last) override { local_->persisted(last); }
    void not_persisted(LogIndex first) override { local_->not_persisted(first); }
    void applied(LogIndex last) override { local_->applied(last); }
    [[nodiscard]] Term write_term() const override { return local_->write_term(); }
    [[nodiscard]] ClusterView view() const override { return local_->view(); }

private:
    const std::unique_ptr<Strategy> local_;
};

}  // namespace nornic::modes::regions
