// The FAILURE map per protocol version. Which code an error has is graph/failure.h's to say.
#pragma once

#include "bolt/packstream.h"
#include "bolt/version.h"
#include "graph/failure.h"

namespace nornic::bolt {

/// retry_is_safe: nothing happened and the same autocommit statement may be sent again; drivers
/// (Python, JavaScript, Java) then do that once by themselves.
void pack_failure(Packer& out,
                  const Dialect& dialect,
                  const Failure& failure,
                  bool retry_is_safe = false);

}  // namespace nornic::bolt
