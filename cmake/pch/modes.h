#pragma once
#include "cmake/pch/base.h"
