/* winograd.inc in 16 lanes. */
#include "engine/winograd.h"

#include <string.h>

#include "engine/words_avx512.h"

#include "engine/winograd.inc"

const struct kerf_winograd_code kerf_winograd_avx512 = {input, output, weights, late};
