// An operator's paths, /admin/… and Neo4j's /db/{name}/cluster/…, for data members and witnesses alike.
#pragma once

#include "http/backend.h"
#include "server/member.h"

namespace nornic::server {

/// `done` is called once, on any thread.
void handle_admin(const Member& member, const http::AdminRequest& request, http::Completion<http::Document> done);

}  // namespace nornic::server
