// RegionSeed: one state as operations that another region can merge, read in slices beside everything else that goes on.
#pragma once

#include "engine/engine_impl.h"
#include "engine/region.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace nornic::engine {

/// Operations without the head that a write set has.
class SeedOperations {
public:
    explicit SeedOperations(DatabaseId database) : database_{database}, writer_{bytes_, database}, head_{bytes_.size()} {}
    SeedOperations(const SeedOperations&) = delete;
    SeedOperations& operator=(const SeedOperations&) = delete;
    [[nodiscard]] DatabaseId database() const noexcept { return database_; }
    WriteSetWriter& writer() noexcept { return writer_; }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.size() - head_; }
    [[nodiscard]] std::string_view view() const noexcept { return std::string_view{bytes_}.substr(head_); }

private:
    const DatabaseId database_;
    std::string bytes_;
    WriteSetWriter writer_;
    const std::size_t head_;
};

/// Rows of the catalogue and rules first, then nodes, then relationships, so that what points at something mostly comes
/// after it. What was deleted travels as its stamp, what is awaited as its cells. Conflict rows stay: each region finds
/// its own. As an open transaction does, it keeps old versions in memory. One thread at a time.
class RegionSeed final : public SeedReader {
public:
    /// Between two applies. `keep_alive` is what `engine` is part of.
    RegionSeed(EngineImpl& engine, std::shared_ptr<const void> keep_alive);
    ~RegionSeed() override;
    RegionSeed(const RegionSeed&) = delete;
    RegionSeed& operator=(const RegionSeed&) = delete;

    [[nodiscard]] LogIndex index() const override { return at_; }
    [[nodiscard]] const RegionState& state() const override { return *state_; }
    /// kStopping: the state was replaced; kBusy: so much changed meanwhile that memory runs short.
    Result<std::optional<RegionWrites>> next(std::size_t bytes) override;
    [[nodiscard]] std::uint64_t entities_read() const override { return read_; }
    [[nodiscard]] std::uint64_t entities_estimate() const override { return estimate_; }

private:
    enum class Part : std::uint8_t { kNodes, kRelationships, kEnd };

    Result<> take_small_things();
    void take_gone_things();
    void add_small_thing(const Stamp& stamp, const SeedOperations& operations);
    /// The rest of the page at the place reached, or so much of it; false: it was behind the last one of its part.
    Result<bool> read_page(std::size_t bytes, RegionWrites& out, SeedOperations& operations);
    template <class Store>
    Result<bool> read_page_of(Store& store, std::size_t bytes, RegionWrites& out, SeedOperations& operations);
    [[nodiscard]] std::string payload(const SeedOperations& operations, std::uint64_t epoch, RegionNumber author = 0) const;

    const std::shared_ptr<const void> keep_alive_;
    EngineImpl& engine_;
    std::shared_ptr<const RegionState> state_;
    std::vector<std::shared_ptr<Database>> databases_;
    LogIndex at_;
    RegionWrites made_;   // databases, which must be there before anything is written to them; not given yet
    RegionWrites small_;  // the same
    Result<> small_failed_ = success();
    std::uint64_t read_ = 0;
    std::uint64_t estimate_ = 0;
    std::size_t visited_ = 0;
    // The place reached.
    std::size_t database_ = 0;
    Part part_ = Part::kNodes;
    std::uint32_t region_ = 0;
    std::uint64_t page_ = 0;
    unsigned slot_ = 0;
    std::size_t property_ = 0;  // of an entity that comes in pieces
};

}  // namespace nornic::engine
