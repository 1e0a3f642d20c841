// Runs tests/modes/raft/scripts/*.txt: commands, `----`, the trace they leave, an empty line, more commands. docs of the
// commands: script.cc, next to each.
#pragma once

#include "tests/modes/raft/core_cluster.h"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::raft::testing {

class Script {
public:
    /// The script with the trace that came out in place of the one it has. `failures`: promises that were broken.
    std::string run(const std::string& text);
    std::vector<std::string> failures;

private:
    struct Words {
        std::string verb;
        std::vector<std::string> plain;
        std::map<std::string, std::string> named;

        explicit Words(const std::string& line);
        std::string at(std::size_t i) const;
        std::uint64_t number(const std::string& name, std::uint64_t otherwise) const;
        std::vector<std::string> list(const std::string& name) const;
        bool has(const std::string& word) const;
    };

    void execute(const std::string& line);
    void make_cluster(const Words& words);
    void time(const Words& words);
    void network(const Words& words);
    void disk(const Words& words);
    void request(const Words& words);
    void look(const Words& words);
    void say(std::string line);
    [[nodiscard]] std::vector<NodeName> nodes(const Words& words) const;

    std::unique_ptr<CoreCluster> cluster_;
    std::string out_;
    bool quiet_ = false;
    std::uint64_t requests_ = 0;
};

}  // namespace nornic::raft::testing
