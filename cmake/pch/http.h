#pragma once
#include "cmake/pch/bolt.h"

#include <boost/beast.hpp>
