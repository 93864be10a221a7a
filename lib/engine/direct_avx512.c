/* direct.inc in 16 lanes: 28 sums, 4 vectors of weights, inputs broadcast from memory. */
#include "engine/direct.h"

#include <math.h>

#include "engine/words_avx512.h"

#define PLACES 7
#define VECTORS 4
#define APART false
#define ROW(p) TILE(p, 1); TILE(p, 2); TILE(p, 3); TILE(p, 4)
#define TILES ROW(1); ROW(2); ROW(3); ROW(4); ROW(5); ROW(6); ROW(7);

#include "engine/direct.inc"

const struct kerf_direct_code kerf_direct_avx512 = {VW, VECTORS, PLACES, run, run_line};
