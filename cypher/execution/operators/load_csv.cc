// LOAD CSV from files of the import directory.
#include "cypher/execution/operators/input.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

namespace nornic::cypher {
namespace {

/// One record may span lines inside quotes; longer ones than this are refused.
constexpr std::size_t kRecordBytesMax = std::size_t{16} << 20;
/// A field's value, its string's header and its key in the row's map.
constexpr std::size_t kFieldBytes = 64;

class LoadCsvOperator final : public RowMaker {
public:
    LoadCsvOperator(const LoadCsvPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan} {}

private:
    [[noreturn]] static void refuse(std::string_view url, std::string_view why) {
        throw QueryError{ErrorCode::kExternalResourceFailed,
                         fmt::format("Cannot load from URL '{}': {}", url, why)};
    }
    static std::string decode_percent(std::string_view s) {
        std::string out;
        for (std::size_t i = 0; i < s.size(); ++i) {
            const auto digit = [](char c) {
                return c >= '0' && c <= '9'
                           ? c - '0'
                           : (c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                   : (c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1));
            };
            if (s[i] == '%' && i + 2 < s.size() && digit(s[i + 1]) >= 0 && digit(s[i + 2]) >= 0) {
                out.push_back(static_cast<char>(digit(s[i + 1]) * 16 + digit(s[i + 2])));
                i += 2;
            } else {
                out.push_back(s[i]);
            }
        }
        return out;
    }
    bool begin(Row row) override {
        const Value url = plan_.url->get(row, context_);
        if (!url.is_string()) {
            throw QueryError{
                ErrorCode::kTypeError,
                fmt::format("Type mismatch: expected String but was {}", type_name(url))};
        }
        const std::string_view text = url.as_string();
        if (!context_.services->allow_load_csv) {
            refuse(
                text,
                "configuration property 'dbms.security.allow_csv_import_from_file_urls' is false");
        }
        if (!text.starts_with("file://")) {
            refuse(text, "only file URLs are supported: file:///name.csv");
        }
        std::string_view path = text.substr(7);
        path = path.starts_with("localhost/") ? path.substr(9) : path;
        // The import directory is the root of such URLs; nothing outside is reachable, by links
        // neither.
        std::error_code error;
        const auto root = std::filesystem::weakly_canonical(
            context_.services->import_directory.empty() ? "import"
                                                        : context_.services->import_directory,
            error);
        const auto file = std::filesystem::weakly_canonical(
            root / std::filesystem::path{decode_percent(path)}.relative_path(), error);
        const auto relative = file.lexically_relative(root);
        if (error || relative.empty() || *relative.begin() == "..") {
            refuse(text, "file URL points outside configured import directory");
        }
        // Opening anything else may wait for ever, and reading a directory looks like an empty
        // file.
        if (!std::filesystem::is_regular_file(file, error)) {
            refuse(text, fmt::format("Couldn't load the external resource at: {} ()", text));
        }
        stream_ = std::ifstream{file, std::ios::binary};
        if (!stream_) {
            refuse(text, fmt::format("Couldn't load the external resource at: {} ()", text));
        }
        url_ = text;
        header_.clear();
        if (stream_.peek() == 0xEF) {
            char bom[3];
            stream_.read(bom, 3);
        }
        if (plan_.headers) {
            if (!read_record()) {
                return false;
            }
            header_ = fields_;
        }
        return true;
    }
    bool produce(Batch& out) override {
        while (has_room(out)) {
            if (!read_record()) {
                stream_.close();
                return false;
            }
            input_.copy_to(out, out.rows);
            count_emitted(record_bytes_ + (header_.size() + fields_.size()) * kFieldBytes);
            const auto field = [](const std::optional<std::string>& f) {
                return f ? Value{*f} : Value{};
            };
            if (plan_.headers) {
                Map map;
                for (std::size_t i = 0; i < header_.size(); ++i) {
                    map.set(header_[i].value_or(""),
                            i < fields_.size() ? field(fields_[i]) : Value{});
                }
                out.column(plan_.slot)[out.rows] = Value{std::move(map)};
            } else {
                List list;
                for (const auto& f : fields_) {
                    list.push_back(field(f));
                }
                out.column(plan_.slot)[out.rows] = Value{std::move(list)};
            }
            ++out.rows;
        }
        return true;
    }
    /// An empty field without quotes is null.
    bool read_record() {
        fields_.clear();
        std::string field;
        bool quoted = false;
        bool was_quoted = false;
        bool any = false;
        record_bytes_ = 0;
        std::streambuf& in = *stream_.rdbuf();
        const auto finish_field = [&] {
            fields_.push_back(field.empty() && !was_quoted ? std::nullopt : std::optional{field});
            field.clear();
            was_quoted = false;
        };
        while (true) {
            const int c = in.sbumpc();
            if (c == std::char_traits<char>::eof()) {
                if (quoted) {
                    refuse(url_, "a quoted field is not closed at the end of the file");
                }
                if (!any) {
                    return false;
                }
                finish_field();
                return true;
            }
            if (++record_bytes_ > kRecordBytesMax) {
                refuse(url_, fmt::format("a record is longer than {} bytes", kRecordBytesMax));
            }
            const char ch = static_cast<char>(c);
            if (quoted) {
                if (ch == '"') {
                    if (in.sgetc() == '"') {
                        in.sbumpc();
                        field.push_back('"');
                    } else {
                        quoted = false;
                    }
                } else if (ch == '\\' && (in.sgetc() == '"' || in.sgetc() == '\\')) {
                    field.push_back(static_cast<char>(in.sbumpc()));
                } else {
                    field.push_back(ch);
                }
                continue;
            }
            if (ch == '\r') {
                continue;
            }
            if (ch == '\n') {
                if (!any) {
                    continue;  // an empty line
                }
                finish_field();
                return true;
            }
            any = true;
            if (ch == '"' && field.empty()) {
                quoted = true;
                was_quoted = true;
            } else if (ch == plan_.terminator) {
                finish_field();
            } else {
                field.push_back(ch);
            }
        }
    }

    const LoadCsvPlan& plan_;
    std::ifstream stream_;
    std::string url_;
    std::size_t record_bytes_ = 0;
    std::vector<std::optional<std::string>> header_;
    std::vector<std::optional<std::string>> fields_;
};

}  // namespace

OperatorPtr make_load_csv(const LoadCsvPlan& plan, ExecContext& context) {
    return std::make_unique<LoadCsvOperator>(plan, context);
}

}  // namespace nornic::cypher
