// Rows in flight: a batch of them, column by column. A statement has one numbering of slots: slot s
// below the number of symbols is Symbol s, those above are the planner's own (cached properties,
// aggregates, sort keys). Slots outside an operator's live set hold leftovers that nobody reads.
#pragma once

#include "graph/value.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace nornic::cypher {

using Slot = std::uint32_t;
inline constexpr Slot kNoSlot = UINT32_MAX;

#ifdef NORNIC_TINY
inline constexpr std::uint32_t kBatchRows = 2;
inline constexpr std::uint32_t kFirstBatchRows = 1;
#else
inline constexpr std::uint32_t kBatchRows = 1024;
// A point query touches a handful of rows; making room for a thousand would cost more than the
// query.
inline constexpr std::uint32_t kFirstBatchRows = 8;
#endif
/// Wide statements get fewer rows, so that a batch stays within a megabyte or so.
inline constexpr std::uint32_t kBatchValues = 65'536;
// A script of thousands of clauses has as many batches as slots. Two rows at least: one row then leaves the batch unfilled, and
// it need not grow.
inline constexpr std::uint32_t kFirstBatchValues = 4096;

class Batch {
public:
    explicit Batch(std::uint32_t slots) noexcept : slots_{slots} {}
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;
    Batch(Batch&&) = default;
    Batch& operator=(Batch&&) = default;

    /// Empties it for the next fill. A batch that came back full was too small: it grows.
    void begin_fill() {
        if (rows == capacity_ && capacity_ < rows_max()) {
            grow(capacity_ == 0
                     ? std::min({kFirstBatchRows,
                                 std::max(kFirstBatchValues / std::max(slots_, 1U), 2U),
                                 rows_max()})
                     : std::min(capacity_ * 16, rows_max()));
        }
        rows = 0;
    }
    /// Empties it and makes room for exactly `n` rows.
    void begin_exact(std::uint32_t n) {
        if (capacity_ < n) {
            grow(n);
        }
        rows = 0;
    }
    [[nodiscard]] Value* column(Slot slot) noexcept {
        return data_.get() + std::size_t{slot} * capacity_;
    }
    [[nodiscard]] const Value* column(Slot slot) const noexcept {
        return data_.get() + std::size_t{slot} * capacity_;
    }
    [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }
    [[nodiscard]] bool full() const noexcept { return rows >= capacity_; }

    std::uint32_t rows = 0;

private:
    [[nodiscard]] std::uint32_t rows_max() const noexcept {
        return std::clamp(kBatchValues / std::max(slots_, 1U), 1U, kBatchRows);
    }
    void grow(std::uint32_t capacity) {
        data_ = std::make_unique<Value[]>(std::size_t{slots_} * capacity);
        capacity_ = capacity;
    }
    std::uint32_t slots_;
    std::uint32_t capacity_ = 0;
    std::unique_ptr<Value[]> data_;
};

/// One row of a batch. Cheap to copy; valid while the batch is not refilled.
struct Row {
    Batch* batch = nullptr;
    std::uint32_t index = 0;
    [[nodiscard]] Value& operator[](Slot slot) const noexcept { return batch->column(slot)[index]; }
};

inline void copy_row(Row from, Batch& to, std::uint32_t to_row, std::span<const Slot> slots) {
    for (const Slot s : slots) {
        to.column(s)[to_row] = from[s];
    }
}

/// Rows kept aside (sort, hash join, eager): row-major copies of the live slots only.
class RowStore {
public:
    explicit RowStore(std::span<const Slot> slots) : slots_{slots.begin(), slots.end()} {}
    /// Bytes the row holds.
    std::size_t add(Row row) {
        std::size_t bytes = slots_.size() * sizeof(Value);
        for (const Slot s : slots_) {
            values_.push_back(row[s]);
            bytes += values_.back().heap_bytes();
        }
        ++rows_;
        return bytes;
    }
    [[nodiscard]] std::size_t size() const noexcept { return rows_; }
    [[nodiscard]] const Value* row(std::size_t i) const noexcept {
        return values_.data() + i * slots_.size();
    }
    [[nodiscard]] Value* row(std::size_t i) noexcept { return values_.data() + i * slots_.size(); }
    void load(std::size_t i, Batch& out, std::uint32_t out_row) const {
        const Value* v = row(i);
        for (const Slot s : slots_) {
            out.column(s)[out_row] = *v++;
        }
    }
    void clear() noexcept {
        values_.clear();
        rows_ = 0;
    }
    [[nodiscard]] std::span<const Slot> slots() const noexcept { return slots_; }

private:
    std::vector<Slot> slots_;
    std::vector<Value> values_;
    std::size_t rows_ = 0;
};

}  // namespace nornic::cypher
