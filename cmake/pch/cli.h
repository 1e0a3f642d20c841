#pragma once
#include "cmake/pch/base.h"

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
