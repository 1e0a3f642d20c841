// What the tests that run over every mode have in common.
#pragma once

#include "tests/modes/conformance/fixture.h"

namespace nornic::modes::conformance {

class EveryMode : public testing::TestWithParam<ModeUnderTest> {
protected:
    /// Starts all members; who writes is in `writer`.
    void form() {
        cluster.start_all();
        const auto found = cluster.await_writer(GetParam().settle_ticks);
        ASSERT_TRUE(found) << "a fresh cluster has no writer";
        writer = *found;
        // Everybody is brought up to date.
        cluster.run(GetParam().settle_ticks);
    }
    /// Data members that do not write.
    [[nodiscard]] std::vector<NodeName> others() const {
        std::vector<NodeName> out = cluster.data_members();
        std::erase(out, writer);
        return out;
    }
    /// Offers writes to the writer, which must take them.
    std::vector<ProposalId> propose(int count, const std::string& text) {
        std::vector<ProposalId> out;
        for (int i = 0; i < count; ++i) {
            const auto offered = cluster.propose(writer, text + std::to_string(i));
            EXPECT_TRUE(offered) << (offered ? "" : offered.error().message());
            if (offered) {
                out.push_back(offered.value());
            }
        }
        return out;
    }
    [[nodiscard]] bool all_end_as(const std::vector<ProposalId>& ids, Outcome outcome) const {
        for (const ProposalId id : ids) {
            if (cluster.proposal(id).outcome != outcome) {
                return false;
            }
        }
        return true;
    }
    bool await(const std::vector<ProposalId>& ids, Outcome outcome) {
        return cluster.run_until([&] { return all_end_as(ids, outcome); }, GetParam().settle_ticks);
    }

    Cluster cluster{GetParam()};
    NodeName writer;
};

#define NORNIC_FOR_EVERY_MODE(suite) \
    INSTANTIATE_TEST_SUITE_P(Modes, suite, testing::ValuesIn(modes_under_test()), test_name)

}  // namespace nornic::modes::conformance
