// What the Raft core says, as it travels, and back. What comes from outside is checked here: a message that from_wire()
// lets through has terms, indexes, entries and texts within bounds, and they fit together as far as one message can show.
#pragma once

#include "modes/raft/core/types.h"
#include "transport/message_bus.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::modes {

inline constexpr std::uint64_t kRaftNumberMax = std::uint64_t{1} << 62;  // terms, indexes, rounds: below it
inline constexpr int kRaftEntriesMax = 65'536;                           // in one message
inline constexpr std::size_t kRaftReasonBytesMax = 1024;                 // what is longer is cut

/// `self`: whose message it is; `history`: of its data, goes out with entries.
std::shared_ptr<const transport::ClusterMessage> to_wire(const raft::Message& message,
                                                         const NodeName& self,
                                                         std::string_view history);

/// nullopt: `why` says what is wrong with it; empty: it is none of the core's (a JoinRequest, or another mode's).
/// `history`: the sender's, of AppendEntries alone; empty: it did not say.
std::optional<raft::Message> from_wire(const transport::ClusterMessage& message, std::string& history, std::string& why);

}  // namespace nornic::modes
