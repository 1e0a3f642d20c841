#include "server/leader_history.h"

#include "observability/log.h"
#include "server/assembly.h"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

namespace nornic::server {
namespace {

namespace json = boost::json;

// More than a hundred changes with the longest names and reasons take; what is longer was not written here.
constexpr std::size_t kFileBytesMax = std::size_t{1} << 20;
constexpr std::size_t kTextBytesMax = 2000;

std::string shortened(const std::string& text) {
    return text.substr(0, kTextBytesMax);
}

json::object to_json(const modes::SeenLeaderChange& seen) {
    return {{"at_ns", seen.wall_ns},
            {"term", seen.change.term.value},
            {"from", shortened(seen.change.from)},
            {"to", shortened(seen.change.to)},
            {"reason", shortened(seen.change.reason)}};
}

/// nullopt: it is no change.
std::optional<modes::SeenLeaderChange> from_json(const json::value& value) {
    const auto* one = value.if_object();
    if (one == nullptr) {
        return std::nullopt;
    }
    const auto integer = [&](const char* name) -> std::optional<std::int64_t> {
        const json::value* v = one->if_contains(name);
        return v != nullptr && v->is_int64() && v->get_int64() >= 0 ? std::optional{v->get_int64()} : std::nullopt;
    };
    const auto text = [&](const char* name) -> std::optional<std::string> {
        const json::value* v = one->if_contains(name);
        return v != nullptr && v->is_string() ? std::optional{shortened(std::string{v->get_string()})} : std::nullopt;
    };
    const auto at = integer("at_ns");
    const auto term = integer("term");
    auto from = text("from");
    auto to = text("to");
    auto reason = text("reason");
    if (!at || !term || !from || !to || !reason) {
        return std::nullopt;
    }
    return modes::SeenLeaderChange{*at, {Term{static_cast<std::uint64_t>(*term)}, *std::move(from), *std::move(to), *std::move(reason)}};
}

/// nullopt: the file is damaged.
std::optional<std::vector<modes::SeenLeaderChange>> read(std::istream& file) {
    std::string text(kFileBytesMax + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > kFileBytesMax) {
        return std::nullopt;
    }
    boost::system::error_code error;
    const json::value parsed = json::parse(text, error);
    const json::value* changes = !error && parsed.is_object() ? parsed.get_object().if_contains("changes") : nullptr;
    if (changes == nullptr || !changes->is_array()) {
        return std::nullopt;
    }
    std::vector<modes::SeenLeaderChange> out;
    for (const json::value& one : changes->get_array()) {
        if (auto change = from_json(one)) {
            out.push_back(*std::move(change));
        }
    }
    return out;
}

void drop_oldest(std::vector<modes::SeenLeaderChange>& changes) {
    if (changes.size() > modes::kLeaderChangesKept) {
        changes.erase(changes.begin(), changes.end() - modes::kLeaderChangesKept);
    }
}

}  // namespace

LeaderHistory::LeaderHistory(const std::string& directory, Clock& clock) : path_{file(directory)}, started_wall_ns_{clock.wall_ns()} {
    std::ifstream file{path_, std::ios::binary};
    if (!file) {
        return;
    }
    if (auto found = read(file)) {
        before_ = *std::move(found);
        drop_oldest(before_);
    } else {
        log::warn("'{}' is damaged: who led before this start is not known. It is written anew.", path_);
    }
}

std::vector<modes::SeenLeaderChange> LeaderHistory::all(std::vector<modes::SeenLeaderChange> since_start) const {
    std::vector<modes::SeenLeaderChange> out = before_;
    out.insert(out.end(), std::make_move_iterator(since_start.begin()), std::make_move_iterator(since_start.end()));
    drop_oldest(out);
    return out;
}

void LeaderHistory::tend(const modes::Replica& replica, ElasticPool& pool) {
    if (replica.stats().leader_changes == kept_.load() || keeping_.exchange(true)) {
        return;
    }
    boost::asio::post(pool.io(), [this, &replica, &pool] {
        pool.enter(nullptr);
        keep(replica);
        pool.leave();
        keeping_.store(false);
    });
}

void LeaderHistory::keep(const modes::Replica& replica) {
    const MutexLock lock{writing_};
    // Read before the changes are: one that comes in between is written now and again by the next call.
    const std::uint64_t seen = replica.stats().leader_changes;
    if (seen == kept_.load()) {
        return;
    }
    json::array changes;
    for (const modes::SeenLeaderChange& one : all(replica.leader_changes())) {
        changes.push_back(to_json(one));
    }
    // Also if it fails: the next change tries again, and not each moment.
    kept_.store(seen);
    const auto written = replace_file(path_, json::serialize(json::object{{"changes", std::move(changes)}}) + "\n");
    if (!written && !warned_) {
        log::warn("{}. Who led until now is not known after the next start.", written.error().message());
    }
    warned_ = !written;
}

}  // namespace nornic::server
