#include "cypher/lexer/keywords.h"

#include <array>
#include <cstddef>

namespace nornic::cypher {
namespace {

struct Entry {
    std::string_view text;
    Keyword keyword = Keyword::kNoKeyword;
};

constexpr std::array kTexts{std::string_view{},
#define NORNIC_TEXT(name, text) std::string_view{text},
                            NORNIC_CYPHER_KEYWORDS(NORNIC_TEXT)
#undef NORNIC_TEXT
};

constexpr std::size_t kSlots = 512;
static_assert(kTexts.size() * 4 <= kSlots,
              "probes stay short while at most a quarter of the slots is taken");

constexpr std::uint32_t slot_of(std::uint32_t hash) noexcept {
    return (hash ^ (hash >> 9U) ^ (hash >> 17U)) % kSlots;
}

constexpr std::array<Entry, kSlots> make_table() {
    std::array<Entry, kSlots> table{};
    for (std::size_t i = 1; i < kTexts.size(); ++i) {
        std::uint32_t slot = slot_of(keyword_hash(kTexts[i]));
        while (table[slot].keyword != Keyword::kNoKeyword) {
            slot = (slot + 1) % kSlots;
        }
        table[slot] = Entry{kTexts[i], static_cast<Keyword>(i)};
    }
    return table;
}

constexpr std::array<Entry, kSlots> kTable = make_table();

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        char x = a[i];
        char y = b[i];
        if (x >= 'a' && x <= 'z') {
            x = static_cast<char>(x - 'a' + 'A');
        }
        if (y >= 'a' && y <= 'z') {
            y = static_cast<char>(y - 'a' + 'A');
        }
        if (x != y) {
            return false;
        }
    }
    return true;
}

std::string_view keyword_text(Keyword keyword) noexcept {
    return kTexts[static_cast<std::size_t>(keyword)];
}

Keyword find_keyword(std::string_view word, std::uint32_t hash) noexcept {
    std::uint32_t slot = slot_of(hash);
    while (kTable[slot].keyword != Keyword::kNoKeyword) {
        if (equals_ignoring_case(kTable[slot].text, word)) {
            return kTable[slot].keyword;
        }
        slot = (slot + 1) % kSlots;
    }
    return Keyword::kNoKeyword;
}

}  // namespace nornic::cypher
