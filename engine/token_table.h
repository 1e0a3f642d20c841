// TokenTable: the names of one database. A name gets its id when a transaction first asks for it;
// whichever commits first carries it into the log, and until then it is a reservation that all
// transactions of this member share. So ids stay dense, and two transactions that invent the same
// name do not meet.
#pragma once

#include "base/result.h"
#include "engine/kv.h"
#include "engine/tokens.h"

#include <array>
#include <deque>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace nornic::engine {

class TokenTable final : public Tokens {
public:
    explicit TokenTable(DatabaseId database) : database_{database} {}

    std::optional<std::uint32_t> find(TokenKind kind, std::string_view name) const override;
    std::string_view name(TokenKind kind, std::uint32_t id) const override;
    std::vector<std::string> all(TokenKind kind) const override;

    struct Reserved {
        std::uint32_t id = 0;
        bool committed = false;
    };
    /// kTokenLimit, kInvalidArgument (an empty name or one with a zero byte).
    Result<Reserved> reserve(TokenKind kind, std::string_view name);
    [[nodiscard]] bool committed(TokenKind kind, std::uint32_t id) const;

    /// Apply. What the log says wins over a reservation.
    Result<> put(TokenKind kind, std::uint32_t id, std::string_view name);

    /// At opening.
    Result<> load(Kv& kv);
    // Checkpoint, at a moment when nothing is applied: what was put since the last.
    struct Changes {
        std::vector<std::pair<TokenKind, std::uint32_t>> tokens;
    };
    Changes take_changes();
    void write(const Changes& changes, KvBatch& batch) const;
    void give_back(Changes changes);

private:
    struct Name {
        std::string text;
        bool committed = false;
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept {
            return std::hash<std::string_view>{}(text);
        }
    };
    struct Kind {
        std::deque<Name> names;  // by id; a deque, so that views of names stay valid
        std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> ids;
    };
    static constexpr std::size_t kKinds = 3;
    static constexpr std::uint32_t kTokensMax = 1U << 24;
    Kind& kind_of(TokenKind kind) { return kinds_[static_cast<std::size_t>(kind)]; }
    const Kind& kind_of(TokenKind kind) const { return kinds_[static_cast<std::size_t>(kind)]; }

    const DatabaseId database_;
    mutable std::shared_mutex mutex_;  // guards all below
    std::array<Kind, kKinds> kinds_;
    std::deque<std::string>
        overruled_;  // names that reservations had and lost; views of them may be about
    Changes changes_;
};

}  // namespace nornic::engine
