// A write set as text that a person, or a script, can make use of: what was lost with a branch of the log must be
// found again without this program.
#include "engine/region/codec.h"
#include "engine/region/stamps.h"
#include "engine/schema_catalog.h"
#include "engine/snapshot.h"
#include "engine/write_set.h"
#include "graph/temporal.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <map>
#include <utility>

namespace nornic::engine {
namespace {

bool is_continuation(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

/// The length of the UTF-8 sequence that `text` begins with; 0 if it is none.
std::size_t sequence_bytes(std::string_view text) noexcept {
    const auto first = static_cast<unsigned char>(text.front());
    const std::size_t bytes = first < 0x80                    ? 1
                              : first >= 0xC2 && first < 0xE0 ? 2
                              : first >= 0xE0 && first < 0xF0 ? 3
                              : first >= 0xF0 && first < 0xF5 ? 4
                                                              : 0;
    if (bytes == 0 || bytes > text.size()) {
        return 0;
    }
    for (std::size_t i = 1; i < bytes; ++i) {
        if (!is_continuation(text[i])) {
            return 0;
        }
    }
    return bytes;
}

/// JSON that is never invalid, whatever bytes come in.
class Json {
public:
    explicit Json(std::string& out) : out_{out} {}

    void open(char bracket) {
        comma();
        out_ += bracket;
        first_ = true;
    }
    void close(char bracket) {
        out_ += bracket;
        first_ = false;
    }
    void key(std::string_view name) {
        text(name);
        out_ += ':';
        first_ = true;
    }
    void raw(std::string_view literal) {
        comma();
        out_ += literal;
    }
    template <class Number>
    void number(Number value) {
        comma();
        fmt::format_to(std::back_inserter(out_), "{}", value);
    }
    void text(std::string_view text) {
        comma();
        out_ += '"';
        while (!text.empty()) {
            const char c = text.front();
            std::size_t bytes = sequence_bytes(text);
            if (c == '"' || c == '\\') {
                out_ += '\\';
                out_ += c;
            } else if (bytes == 0) {
                out_ += "\\ufffd";
                bytes = 1;
            } else if (static_cast<unsigned char>(c) < 0x20) {
                fmt::format_to(std::back_inserter(out_), "\\u{:04x}", static_cast<unsigned>(c));
            } else {
                out_.append(text.substr(0, bytes));
            }
            text.remove_prefix(bytes);
        }
        out_ += '"';
    }
    void hexadecimal(std::string_view bytes) {
        comma();
        out_ += '"';
        for (const char c : bytes) {
            fmt::format_to(std::back_inserter(out_), "{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        }
        out_ += '"';
    }
    void value(const Value& value);

private:
    void comma() {
        if (!std::exchange(first_, false)) {
            out_ += ',';
        }
    }
    std::string& out_;
    bool first_ = true;
};

void Json::value(const Value& value) {
    switch (value.type()) {
        case ValueType::kNull:
            raw("null");
            return;
        case ValueType::kBoolean:
            raw(value.as_boolean() ? "true" : "false");
            return;
        case ValueType::kInteger:
            number(value.as_integer());
            return;
        case ValueType::kFloat:
            if (std::isfinite(value.as_float())) {
                raw(format_float(value.as_float()));
            } else {
                text(format_float(value.as_float()));
            }
            return;
        case ValueType::kString:
            text(value.as_string());
            return;
        case ValueType::kBytes:
            open('{');
            key("bytes");
            hexadecimal(value.as_bytes());
            close('}');
            return;
        case ValueType::kList:
            open('[');
            for (const Value& element : value.as_list()) {
                this->value(element);
            }
            close(']');
            return;
        case ValueType::kMap:
            open('{');
            for (const auto& [name, element] : value.as_map()) {
                key(name);
                this->value(element);
            }
            close('}');
            return;
        default:
            text(to_cypher_text(value));
    }
}

class Describer {
public:
    Describer(std::string& out, DatabaseId database, const TokenNames& names)
        : out_{out}, database_{database}, names_{names} {}

    void line(const WriteOperation& operation) {
        Json json{out_};
        json.open('{');
        json.key("database");
        json.number(database_.value);
        json.key("change");
        one(operation, json);
        json.close('}');
        out_ += '\n';
    }

private:
    void one(const WriteOperation& operation, Json& json);

    [[nodiscard]] std::string name(TokenKind kind, std::uint32_t id) const {
        if (const auto known = created_.find({kind, id}); known != created_.end()) {
            return known->second;
        }
        std::string found = names_ ? names_(database_, kind, id) : std::string{};
        return found.empty() ? fmt::format("#{}", id) : found;
    }
    void id(std::string_view change, std::uint64_t id, Json& json) const {
        json.text(change);
        json.key("id");
        json.number(id);
    }
    void token(std::string_view field, TokenKind kind, std::uint32_t id, Json& json) const {
        json.key(field);
        json.text(name(kind, id));
    }
    void labels(const std::vector<LabelId>& ids, Json& json) const {
        json.key("labels");
        json.open('[');
        for (const LabelId label : ids) {
            json.text(name(TokenKind::kLabel, label.value));
        }
        json.close(']');
    }
    void properties(const std::vector<PropertyEntry>& entries, Json& json) const {
        json.key("properties");
        json.open('{');
        for (const PropertyEntry& entry : entries) {
            json.key(name(TokenKind::kPropertyKey, entry.key.value));
            json.value(entry.value);
        }
        json.close('}');
    }
    void rule(EntityKind entity,
              std::span<const std::uint32_t> tokens,
              const std::vector<PropertyKeyId>& keys,
              Json& json) const {
        const bool node = entity == EntityKind::kNode;
        json.key(node ? "labels" : "types");
        json.open('[');
        for (const std::uint32_t token : tokens) {
            json.text(name(node ? TokenKind::kLabel : TokenKind::kRelationshipType, token));
        }
        json.close(']');
        json.key("properties");
        json.open('[');
        for (const PropertyKeyId key : keys) {
            json.text(name(TokenKind::kPropertyKey, key.value));
        }
        json.close(']');
    }
    void put_rule(const WriteOperation& operation, Json& json) const;
    static void life(Life life, Json& json) {
        static constexpr std::array<std::string_view, 4> kNames{"live", "awaited", "hidden", "dead"};
        json.key("life");
        json.text(kNames[static_cast<std::size_t>(life)]);
    }
    static void region_change(const WriteOperation& operation, Json& json);

    std::string& out_;
    const DatabaseId database_;
    const TokenNames& names_;
    std::map<std::pair<TokenKind, std::uint32_t>, std::string> created_;
};

void Describer::put_rule(const WriteOperation& operation, Json& json) const {
    ByteReader in{operation.text};
    if (operation.op == WriteOp::kPutIndex) {
        json.text("create index");
        if (const auto index = decode_index_rule(in); index && in.ok()) {
            json.key("id");
            json.number(index.value().id.value);
            json.key("name");
            json.text(index.value().name);
            rule(index.value().entity, index.value().tokens, index.value().properties, json);
            return;
        }
    } else {
        json.text("create constraint");
        if (const auto constraint = decode_constraint_rule(in); constraint && in.ok()) {
            json.key("id");
            json.number(constraint.value().id.value);
            json.key("name");
            json.text(constraint.value().name);
            rule(constraint.value().entity,
                 std::span{&constraint.value().token, 1},
                 constraint.value().properties,
                 json);
            return;
        }
    }
    json.key("bytes");
    json.hexadecimal(operation.text);
}

void Describer::region_change(const WriteOperation& operation, Json& json) {
    static constexpr std::array<std::string_view, 10> kNames{"",
                                                             "form regions",
                                                             "add region",
                                                             "promote region",
                                                             "forget stamps",
                                                             "region reached",
                                                             "drop region",
                                                             "region history",
                                                             "region was set back",
                                                             "region's state was merged"};
    const auto change = decode_region_change(operation.text);
    if (!change) {
        json.text("change of regions");
        json.key("bytes");
        json.hexadecimal(operation.text);
        return;
    }
    json.text(kNames[static_cast<std::size_t>(change.value().kind)]);
    json.key("region");
    json.number(std::uint32_t{change.value().number});
    json.key("epoch");
    json.number(change.value().epoch);
    json.key("cursor");
    json.number(change.value().cursor.value);
    json.key("time");
    json.number(change.value().time);
}

void Describer::one(const WriteOperation& operation, Json& json) {
    switch (operation.op) {
        case WriteOp::kCreateToken:
            created_[{operation.token_kind, operation.token}] = std::string{operation.text};
            json.text(operation.token_kind == TokenKind::kLabel              ? "new label"
                      : operation.token_kind == TokenKind::kRelationshipType ? "new type"
                                                                             : "new property key");
            json.key("id");
            json.number(operation.token);
            json.key("name");
            json.text(operation.text);
            return;
        case WriteOp::kCreateNode:
            id("create node", operation.id, json);
            labels(operation.node.labels, json);
            properties(operation.node.properties, json);
            return;
        case WriteOp::kDeleteNode:
            id("delete node", operation.id, json);
            return;
        case WriteOp::kAddLabel:
        case WriteOp::kRemoveLabel:
            id(operation.op == WriteOp::kAddLabel ? "add label" : "remove label", operation.id, json);
            token("label", TokenKind::kLabel, operation.token, json);
            return;
        case WriteOp::kSetNodeProperty:
        case WriteOp::kSetRelProperty:
            id(operation.op == WriteOp::kSetNodeProperty ? "set node property"
                                                         : "set relationship property",
               operation.id,
               json);
            token("property", TokenKind::kPropertyKey, operation.token, json);
            json.key("value");
            json.value(operation.value);
            return;
        case WriteOp::kRemoveNodeProperty:
        case WriteOp::kRemoveRelProperty:
            id(operation.op == WriteOp::kRemoveNodeProperty ? "remove node property"
                                                            : "remove relationship property",
               operation.id,
               json);
            token("property", TokenKind::kPropertyKey, operation.token, json);
            return;
        case WriteOp::kCreateRelationship:
            id("create relationship", operation.id, json);
            token("type", TokenKind::kRelationshipType, operation.relationship.type.value, json);
            json.key("start");
            json.number(operation.relationship.start.value);
            json.key("end");
            json.number(operation.relationship.end.value);
            properties(operation.relationship.properties, json);
            return;
        case WriteOp::kDeleteRelationship:
            id("delete relationship", operation.id, json);
            return;
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
            put_rule(operation, json);
            return;
        case WriteOp::kDropRule:
            id("drop index or constraint", operation.id, json);
            return;
        case WriteOp::kPutCatalog:
        case WriteOp::kEraseCatalog:
            json.text(operation.op == WriteOp::kPutCatalog ? "put row" : "erase row");
            json.key("row");
            json.text(operation.text);
            return;
        case WriteOp::kCreateDatabase:
            id("create database", operation.id, json);
            json.key("name");
            json.text(operation.text);
            json.key("uuid");
            json.text(operation.text2);
            return;
        case WriteOp::kRegion:
            region_change(operation, json);
            return;
        case WriteOp::kMetadata:
            json.text("metadata of the transaction");
            json.key("value");
            json.value(operation.value);
            return;
        case WriteOp::kSeen:
            json.text("what of other regions was seen");
            return;
        case WriteOp::kMergeNode:
            id("merge node", operation.id, json);
            life(operation.node.stamps->life, json);
            labels(operation.node.labels, json);
            properties(operation.node.properties, json);
            return;
        case WriteOp::kMergeRelationship:
            id("merge relationship", operation.id, json);
            life(operation.relationship.stamps->life, json);
            properties(operation.relationship.properties, json);
            return;
    }
    json.text("unknown");
}

/// One line each; gives what could not be read.
std::string_view describe_operations(std::string& out,
                                     DatabaseId database,
                                     std::string_view operations,
                                     const TokenNames& names) {
    Describer describer{out, database, names};
    WriteSetReader reader = WriteSetReader::over(database, operations);
    WriteOperation operation;
    std::size_t read = 0;
    while (true) {
        const Result<bool> more = reader.next(operation);
        if (!more) {
            return operations.substr(read);
        }
        if (!more.value()) {
            return {};
        }
        describer.line(operation);
        read = reader.position();
    }
}

void describe_unreadable(std::string& out, std::string_view bytes) {
    Json json{out};
    json.open('{');
    json.key("change");
    json.text("not readable");
    json.key("bytes");
    json.hexadecimal(bytes);
    json.close('}');
    out += '\n';
}

/// What stands before the operations that regions exchange; origin 0: a write of this region.
void describe_header(std::string& out, RegionNumber origin, const StampedWrite& write) {
    Json json{out};
    json.open('{');
    json.key("change");
    json.text(origin == 0 ? "write of this region" : "write of another region");
    if (origin != 0) {
        json.key("region");
        json.number(std::uint32_t{origin});
        json.key("index");
        json.number(write.index.value);
        json.key("time");
        json.number(write.time);
    }
    json.key("rank");
    json.number(write.header.rank);
    json.key("epoch");
    json.number(write.header.epoch);
    json.key("seen");
    json.open('[');
    for (const std::uint64_t time : write.header.seen) {
        json.number(time);
    }
    json.close(']');
    json.close('}');
    out += '\n';
}

}  // namespace

std::string describe_write_set(std::string_view write_set, const TokenNames& names) {
    std::string out;
    std::string_view left = write_set;
    const auto describe = [&](DatabaseId database, std::string_view operations) {
        left = describe_operations(out, database, operations, names);
        return left.empty();
    };
    switch (write_set_format(write_set)) {
        case WriteSetWriter::kFormat:
            if (const auto reader = WriteSetReader::open(write_set)) {
                describe(reader.value().database(), write_set.substr(reader.value().position()));
            }
            break;
        case kStampedFormat:
            if (const auto write = decode_stamped(write_set)) {
                describe_header(out, 0, write.value());
                describe(write.value().database, write.value().operations);
            }
            break;
        case kRegionBatchFormat:
            if (const auto batch = decode_region_batch(write_set)) {
                left = {};
                for (const StampedWrite& write : batch.value().writes) {
                    describe_header(out, batch.value().origin, write);
                    if (!describe(write.database, write.operations)) {
                        break;
                    }
                }
            }
            break;
        default:
            break;
    }
    if (!left.empty() || write_set.empty()) {
        describe_unreadable(out, left);
    }
    return out;
}

}  // namespace nornic::engine
