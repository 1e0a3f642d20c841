#include "engine/token_table.h"

#include "base/check.h"
#include "engine/store/keys.h"

#include <fmt/format.h>

#include <mutex>

namespace nornic::engine {

std::optional<std::uint32_t> TokenTable::find(TokenKind kind, std::string_view name) const {
    const std::shared_lock lock{mutex_};
    const auto& ids = kind_of(kind).ids;
    const auto at = ids.find(name);
    return at == ids.end() ? std::nullopt : std::optional{at->second};
}

std::string_view TokenTable::name(TokenKind kind, std::uint32_t id) const {
    const std::shared_lock lock{mutex_};
    const auto& names = kind_of(kind).names;
    NORNIC_CHECK(
        id < names.size(), "kind={} id={} of {}", static_cast<int>(kind), id, names.size());
    return names[id].text;
}

std::vector<std::string> TokenTable::all(TokenKind kind) const {
    const std::shared_lock lock{mutex_};
    std::vector<std::string> out;
    for (const Name& name : kind_of(kind).names) {
        if (name.committed) {
            out.push_back(name.text);
        }
    }
    return out;
}

Result<TokenTable::Reserved> TokenTable::reserve(TokenKind kind, std::string_view name) {
    {
        const std::shared_lock lock{mutex_};
        const Kind& all = kind_of(kind);
        if (const auto at = all.ids.find(name); at != all.ids.end()) {
            return Reserved{at->second, all.names[at->second].committed};
        }
    }
    if (name.empty() || name.find('\0') != std::string_view::npos) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' is not a valid token name. Token names cannot be empty or "
                                "contain any null-bytes.",
                                name));
    }
    const std::unique_lock lock{mutex_};
    Kind& all = kind_of(kind);
    if (const auto at = all.ids.find(name); at != all.ids.end()) {
        return Reserved{at->second, all.names[at->second].committed};
    }
    if (all.names.size() >= kTokensMax) {
        return fail(ErrorCode::kTokenLimit,
                    fmt::format("The maximum number of names ({}) is in use", kTokensMax));
    }
    const auto id = static_cast<std::uint32_t>(all.names.size());
    all.names.push_back(Name{std::string{name}, false});
    all.ids.emplace(name, id);
    return Reserved{id, false};
}

bool TokenTable::committed(TokenKind kind, std::uint32_t id) const {
    const std::shared_lock lock{mutex_};
    const auto& names = kind_of(kind).names;
    return id < names.size() && names[id].committed;
}

Result<> TokenTable::put(TokenKind kind, std::uint32_t id, std::string_view name) {
    const std::unique_lock lock{mutex_};
    Kind& all = kind_of(kind);
    if (id >= kTokensMax) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("token id {} is past the limit of {}", id, kTokensMax));
    }
    while (all.names.size() <= id) {
        all.names.emplace_back();
    }
    Name& here = all.names[id];
    if (here.committed) {
        if (here.text == name) {
            return success();
        }
        return fail(ErrorCode::kCorruption,
                    fmt::format("token {} is '{}' and cannot become '{}'", id, here.text, name));
    }
    if (here.text != name) {
        // Another member's transaction got the id first: our reservation and any of the same name
        // are void. The same name may meanwhile have been committed under another id, and stays.
        if (const auto at = all.ids.find(here.text); at != all.ids.end() && at->second == id) {
            all.ids.erase(at);
        }
        overruled_.push_back(std::move(here.text));
        here.text = name;
    }
    here.committed = true;
    all.ids.insert_or_assign(std::string{name}, id);
    changes_.tokens.emplace_back(kind, id);
    return success();
}

Result<> TokenTable::load(Kv& kv) {
    const std::string prefix = key_prefix(KeyKind::kToken, database_);
    const auto cursor = kv.new_cursor();
    for (cursor->seek(prefix); cursor->valid() && cursor->key().starts_with(prefix);
         cursor->next()) {
        ByteReader in{cursor->key().substr(prefix.size())};
        const std::uint8_t kind = in.get_u8();
        const std::uint32_t id = in.get_be32();
        if (!in.ok() || !in.at_end() || kind >= kKinds) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("database {}: a token's key is not valid", database_.value));
        }
        NORNIC_TRY(put(static_cast<TokenKind>(kind), id, cursor->value()));
    }
    changes_.tokens.clear();
    return cursor->status();
}

TokenTable::Changes TokenTable::take_changes() {
    const std::unique_lock lock{mutex_};
    return std::exchange(changes_, {});
}

void TokenTable::write(const Changes& changes, KvBatch& batch) const {
    const std::shared_lock lock{mutex_};
    for (const auto& [kind, id] : changes.tokens) {
        std::string key = key_prefix(KeyKind::kToken, database_);
        ByteWriter out{key};
        out.put_u8(static_cast<std::uint8_t>(kind));
        out.put_be32(id);
        batch.put(key, kind_of(kind).names[id].text);
    }
}

void TokenTable::give_back(Changes changes) {
    const std::unique_lock lock{mutex_};
    changes_.tokens.insert(changes_.tokens.end(), changes.tokens.begin(), changes.tokens.end());
}

}  // namespace nornic::engine
