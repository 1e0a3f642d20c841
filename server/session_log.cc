#include "server/session_log.h"

#include "observability/log.h"

namespace nornic::server {
namespace {

constexpr std::size_t kTextBytesMax = 2000;

/// 'abc' and "abc" become '***'.
std::string without_literals(std::string_view text) {
    std::string out;
    char quote = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote == 0) {
            out.push_back(c);
            if (c == '\'' || c == '"') {
                quote = c;
                out += "***";
            }
        } else if (c == '\\') {
            ++i;
        } else if (c == quote) {
            out.push_back(c);
            quote = 0;
        }
    }
    return out;
}

}  // namespace

std::optional<TraceContext> trace_parent(const Value& metadata) {
    const Value* const text = metadata.is_map() ? metadata.as_map().find("traceparent") : nullptr;
    return text != nullptr && text->is_string() ? TraceContext::parse(text->as_string()) : std::nullopt;
}

std::string cut(std::string text) {
    if (text.size() > kTextBytesMax) {
        std::size_t end = kTextBytesMax;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
            --end;
        }
        text.resize(end);
        text += "…";
    }
    return text;
}

std::string shown_text(std::string_view text, const cypher::PreparedInfo& info) {
    return cut(info.administration ? without_literals(text) : std::string{text});
}

void audit(const Actor& actor, std::string_view database, std::string_view action, const Error* error) {
    log::audit("Audit:",
               {{"user", actor.user},
                {"client", actor.client},
                {"via", actor.via},
                {"agent", actor.agent},
                {"database", database},
                {"action", action},
                {"outcome", error == nullptr ? std::string_view{"done"} : to_string(error->code())},
                {"reason", error == nullptr ? std::string_view{} : std::string_view{error->message()}}});
}

http::Completion<http::Document> audited(const http::AdminRequest& request, http::Completion<http::Document> done) {
    if (request.method == "GET" || request.method == "HEAD") {
        return done;
    }
    constexpr std::size_t kBodyShown = 500;
    std::string action = request.method + " " + request.path;
    if (!request.body.empty()) {
        action += " " + request.body.substr(0, kBodyShown);
    }
    return [user = request.user, client = request.client_address, action = std::move(action), done = std::move(done)](
               Result<http::Document> answer) {
        const Actor actor{user, client, "http", ""};
        if (!answer) {
            audit(actor, "", action, &answer.error());
        } else if (answer.value().status >= 400) {
            const Error refused{ErrorCode::kInvalidRequest, "status " + std::to_string(answer.value().status)};
            audit(actor, "", action, &refused);
        } else {
            audit(actor, "", action, nullptr);
        }
        done(std::move(answer));
    };
}

}  // namespace nornic::server
