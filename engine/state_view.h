// A digest of the state as of one index, read in slices beside everything else that goes on.
#pragma once

#include "engine/engine_impl.h"
#include "engine/snapshot.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// The state as clients see it and as the log determines it: not what is one member's own, as are the layout of its store,
/// what indexes hold, estimates for the planner and ids that were drawn and not used. A sum of one hash for each thing, so
/// that the order of reading does not matter. Whoever changes what goes in counts kStateDigestVersion up.
class EngineStateView final : public StateView {
public:
    /// Between two applies. `keep_alive` is what `engine` is part of.
    EngineStateView(EngineImpl& engine, std::shared_ptr<const void> keep_alive);
    ~EngineStateView() override;
    EngineStateView(const EngineStateView&) = delete;
    EngineStateView& operator=(const EngineStateView&) = delete;

    [[nodiscard]] LogIndex index() const override { return at_; }
    Result<bool> read(std::size_t bytes) override;
    [[nodiscard]] std::uint64_t digest() const override { return sum_; }

private:
    enum class Part : std::uint8_t { kNodes, kRelationships, kAdjacency, kEnd };

    void add(std::string_view kind, std::uint64_t database, std::uint64_t id, std::string_view bytes);
    template <class Data>
    void add_stamps(std::string_view kind, std::uint64_t database, std::uint64_t id, const Data& data);
    void add_small_things();
    /// The page at the place reached; false: the place was behind the last one of its part.
    bool read_page();
    template <class Store, class Fn>
    bool read_page_of(Store& store, Fn&& fn);
    template <class Store>
    bool read_records(Store& store, std::string_view kind);

    const std::shared_ptr<const void> keep_alive_;
    EngineImpl& engine_;
    std::vector<std::shared_ptr<Database>> databases_;
    LogIndex at_;
    std::uint64_t watermark_ = 0;
    std::uint64_t sum_ = 0;
    std::size_t read_bytes_ = 0;
    std::string scratch_;
    // The place reached.
    std::size_t database_ = 0;
    Part part_ = Part::kNodes;
    std::uint32_t region_ = 0;
    std::uint64_t page_ = 0;
};

}  // namespace nornic::engine
