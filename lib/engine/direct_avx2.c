/* direct.inc in 8 lanes: 12 sums, 2 vectors of weights. */
#include "engine/direct.h"

#include <math.h>

#include "engine/words_avx2.h"

#define PLACES 6
#define VECTORS 2
#define APART true
#define ROW(p) TILE(p, 1); TILE(p, 2)
#define TILES ROW(1); ROW(2); ROW(3); ROW(4); ROW(5); ROW(6);

#include "engine/direct.inc"

const struct kerf_direct_code kerf_direct_avx2 = {VW, VECTORS, PLACES, run, run_line};
