// The platform over the host's capabilities.

#ifndef HOST_H
#define HOST_H

#include "platform.h"

extern const struct platform HOST;

#endif
