#include "base/check.h"
#include "cypher/procedures/procedure.h"

namespace nornic::cypher {
namespace {

std::string lower(std::string_view name) {
    std::string out{name};
    for (char& c : out) {
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return out;
}

}  // namespace

void ProcedureRegistry::add(Procedure procedure) {
    NORNIC_CHECK(procedure.run != nullptr, "procedure {} does nothing", procedure.name);
    std::string key = lower(procedure.name);
    by_name_.insert_or_assign(std::move(key), std::move(procedure));
}

const Procedure* ProcedureRegistry::find(std::string_view name) const {
    const auto it = by_name_.find(lower(name));
    return it == by_name_.end() ? nullptr : &it->second;
}

std::vector<const Procedure*> ProcedureRegistry::all() const {
    std::vector<const Procedure*> out;
    out.reserve(by_name_.size());
    for (const auto& [name, procedure] : by_name_) {
        out.push_back(&procedure);
    }
    return out;
}

}  // namespace nornic::cypher
