// Harm to what regions send to each other.
#include "base/check.h"
#include "base/compress.h"
#include "engine/region/codec.h"
#include "tests/sim/network.h"

#include <algorithm>

namespace nornic::sim {
namespace {

/// Unpacks the writes of a batch, lets `harm` at them and packs them again.
template <class Harm>
bool harm_writes(transport::RegionBatch& batch, Harm&& harm) {
    if (batch.packed().empty() || batch.seeding()) {
        return false;
    }
    const auto bytes = decompress(batch.packed(), batch.unpacked_bytes());
    transport::RegionWrites writes;
    NORNIC_CHECK(bytes && writes.ParseFromString(bytes.value()), "a batch that cannot be read");
    if (!harm(writes)) {
        return false;
    }
    const std::string packed = writes.SerializeAsString();
    batch.set_unpacked_bytes(static_cast<std::uint32_t>(packed.size()));
    batch.set_packed(compress(packed));
    return true;
}

}  // namespace

bool harm_regions(World& world, ClusterMessage& message) {
    if (!message.has_region_batch()) {
        return false;
    }
    transport::RegionBatch& batch = *message.mutable_region_batch();
    switch (world.menu.mutation) {
        case Mutation::kRegionWriteDropped:
            return world.random.one_in(5) && harm_writes(batch, [&](transport::RegionWrites& writes) {
                       const auto at = static_cast<int>(world.random.below(static_cast<std::uint64_t>(writes.entries_size())));
                       writes.mutable_entries()->DeleteSubrange(at, 1);
                       return true;
                   });
        case Mutation::kRegionTimeChanged:
            return world.random.one_in(2) && harm_writes(batch, [](transport::RegionWrites& writes) {
                       for (auto& entry : *writes.mutable_entries()) {
                           entry.set_hybrid_time(entry.hybrid_time() - (std::uint64_t{1000} << 16));
                       }
                       return true;
                   });
        case Mutation::kRegionSeenRaised:
            return harm_writes(batch, [](transport::RegionWrites& writes) {
                for (auto& entry : *writes.mutable_entries()) {
                    const auto stamped = engine::decode_stamped(entry.payload());
                    NORNIC_CHECK(stamped, "a write that cannot be read");
                    engine::RegionHeader header = stamped.value().header;
                    std::ranges::fill(header.seen, engine::kAllTime);
                    std::string write_set;
                    const engine::WriteSetWriter begin{write_set, stamped.value().database};
                    write_set.append(stamped.value().operations);
                    entry.set_payload(engine::stamp_write_set(header, write_set));
                }
                return true;
            });
        case Mutation::kRegionCursorRaised:
            if (batch.through() == 0 || batch.seeding() || !world.random.one_in(5)) {
                return false;
            }
            batch.set_through(batch.through() + 3);
            return true;
        case Mutation::kRegionFrontierRaised:
            // Who has it is believed to have everything.
            for (auto& time : *batch.mutable_frontier()) {
                time = std::max(time, batch.through_time());
            }
            return batch.frontier_size() != 0;
        default:
            return false;
    }
}

}  // namespace nornic::sim
