/* winograd.inc in 8 lanes. */
#include "engine/winograd.h"

#include <string.h>

#include "engine/words_avx2.h"

#include "engine/winograd.inc"

const struct kerf_winograd_code kerf_winograd_avx2 = {input, output, weights, late};
