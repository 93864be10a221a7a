/* What sender.c, pacer.c and repair.c share. */
#pragma once

#include "transport/transport_internal.h"

bool kerf_sender_is_active(const struct kerf_sender *s);
/* Drops the reference to a held packet, which then is not pending any more either. */
void kerf_sender_release(struct kerf_sender *s, uint32_t index);
/* Schedules a held packet once more. */
void kerf_sender_make_pending(struct kerf_sender *s, uint32_t index, uint64_t now);
/* Schedules every packet of the message, in order. */
void kerf_sender_schedule_all(struct kerf_sender *s);
/* Builds the next packet in order; false when the pool is empty. */
bool kerf_sender_encode_next(struct kerf_sender *s);
