#pragma once
#include "cmake/pch/base.h"
#include "transport/proto/cluster.pb.h"
