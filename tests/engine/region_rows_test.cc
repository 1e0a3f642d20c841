// RowSet against a plain set: through changes, checkpoints that are written and ones that are not, and restarts.
#include "base/random.h"
#include "engine/region/rows.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace nornic::engine::testing {
namespace {

std::vector<std::string> from(const RowSet& rows, std::string_view key, std::size_t max = SIZE_MAX) {
    std::vector<std::string> out;
    const Result<> done = rows.visit(key, [&](std::string_view found) {
        out.emplace_back(found);
        return out.size() < max;
    });
    EXPECT_TRUE(done) << done.error().message();
    return out;
}

TEST(RegionRows, AreThoseOfAPlainSetWhateverCheckpointsDo) {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        Random random{seed};
        const std::shared_ptr<Kv> kv = make_memory_kv();
        {
            // Neighbours under other prefixes.
            const auto batch = kv->new_batch();
            batch->put("f9", "");
            batch->put("h", "");
            ASSERT_TRUE(kv->write(*batch));
        }
        auto rows = std::make_unique<RowSet>(*kv, "g");
        std::set<std::string> model;
        std::set<std::string> durable;
        bool writing = false;
        std::set<std::string> as_of;
        std::unique_ptr<KvBatch> batch;
        for (int step = 0; step < 200; ++step) {
            const std::string key = std::to_string(random.below(20));
            switch (random.below(8)) {
                case 0:
                case 1:
                case 2:
                    rows->insert(key);
                    model.insert(key);
                    break;
                case 3:
                case 4:
                    rows->erase(key);
                    model.erase(key);
                    break;
                case 5:
                    if (!writing) {
                        writing = true;
                        as_of = model;
                        rows->begin_checkpoint();
                        batch = kv->new_batch();
                        rows->write_checkpoint(*batch);
                    }
                    break;
                case 6:
                    if (writing) {
                        writing = false;
                        const bool fails = random.below(3) == 0;
                        // A batch may be there although it is not known to be.
                        if (!fails || random.below(2) == 0) {
                            ASSERT_TRUE(kv->write(*batch));
                            durable = as_of;
                        }
                        rows->end_checkpoint(!fails);
                    }
                    break;
                default:
                    if (random.below(10) == 0) {
                        rows = std::make_unique<RowSet>(*kv, "g");
                        writing = false;
                        model = durable;
                    }
                    break;
            }
            ASSERT_EQ(from(*rows, ""), (std::vector<std::string>{model.begin(), model.end()})) << "seed " << seed;
            ASSERT_EQ(from(*rows, key), (std::vector<std::string>{model.lower_bound(key), model.end()})) << "seed " << seed;
        }
    }
}

TEST(RegionRows, AreGivenUntilTheAskerHasEnough) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    RowSet rows{*kv, "g"};
    for (const char* key : {"a", "b", "c"}) {
        rows.insert(key);
    }
    EXPECT_EQ(from(rows, "", 2), (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace nornic::engine::testing
