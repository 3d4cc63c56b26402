/* Duty budget: keeps a channel's on-time in any T below duty * (T + window), whatever the host asks for. */
#ifndef BUDGET_H
#define BUDGET_H

#include <stdint.h>

#include "config.h"

/* A bucket of on-time that fills at the rate `duty` and empties while the channel is on. Credit is kept in us of on-time
   times 1000, so that permille stay whole numbers. Edges are not counted one by one: a train's are where they were
   asked for, so what it has used by now is reckoned from its shape. `budget_reckon` must come around within
   RECKON_WITHIN_US, which keeps every product in 32 bits. */
struct budget {
    int64_t credit;
    uint32_t reckoned_us;
    uint32_t period_us; /* Of the train under way; 0 while the channel is idle. */
    uint32_t width_us;
    uint32_t phase_us;  /* Since its last rising edge, at `reckoned_us`. */
};

#define NOT_INLINE __attribute__((noinline)) /* 64 bits are long on an 8-bit chip. */
#define RECKON_WITHIN_US 2000000UL
#define RECKON_EVERY_US 1000000UL

static uint16_t duty_permille = CAP_MAX_DUTY_PERMILLE;

static int64_t budget_full; /* The most credit that there can be. */

static void budget_set_duty(uint16_t permille) {
    duty_permille = permille;
    budget_full = (int64_t)((uint64_t)(CAP_DUTY_WINDOW_MS * 1000UL) * permille);
}

static void budget_add(struct budget *b, int32_t amount) {
    b->credit += amount;
    if (b->credit > budget_full) {
        b->credit = budget_full;
    }
}

/* Passes time inside one period. */
static void budget_pass(struct budget *b, uint32_t span_us) {
    uint32_t on_us = 0;
    if (b->phase_us < b->width_us) {
        on_us = b->width_us - b->phase_us;
        on_us = on_us < span_us ? on_us : span_us;
    }
    budget_add(b, -(int32_t)(on_us * (1000U - duty_permille)));
    budget_add(b, (int32_t)((span_us - on_us) * duty_permille));
    b->phase_us += span_us;
    if (b->phase_us == b->period_us) {
        b->phase_us = 0;
    }
}

static void budget_reckon(struct budget *b, uint32_t now_us) {
    uint32_t span_us = now_us - b->reckoned_us;
    if ((int32_t)span_us <= 0) {
        return; /* A time that was read before an interrupt ended a train and so moved on a little further. */
    }
    b->reckoned_us = now_us;
    if (b->period_us == 0) {
        budget_add(b, (int32_t)(span_us * duty_permille));
        return;
    }
    uint32_t rest_us = b->period_us - b->phase_us;
    if (span_us < rest_us) {
        budget_pass(b, span_us);
        return;
    }
    budget_pass(b, rest_us);
    span_us -= rest_us;
    /* A whole period changes the credit at a rising edge by `net`: if that is a gain, only the top of the bucket can cut
       it, and cuts it to the same at the last period as at each; if a loss, the top is out of reach. */
    uint32_t n = span_us / b->period_us;
    if (n != 0) {
        budget_add(b, (int32_t)(n * b->period_us * duty_permille) - (int32_t)(n * b->width_us * 1000U));
    }
    budget_pass(b, span_us - n * b->period_us);
}

/* Returns the credit with which neither the first nor the last pulse of a train overdraws; none between can. */
NOT_INLINE static int64_t budget_need(uint32_t n_pulses, uint32_t period_us, uint32_t width_us) {
    int64_t first = (int64_t)((uint64_t)width_us * (1000U - duty_permille));
    int64_t last = (int64_t)((uint64_t)n_pulses * width_us * 1000U) - (int64_t)((uint64_t)width_us * duty_permille) -
                   (int64_t)((uint64_t)((n_pulses - 1) * period_us) * duty_permille);
    return first > last ? first : last;
}

/* Returns what becomes of a credit while the channel is on and then off. */
NOT_INLINE static int64_t budget_after(int64_t credit, uint32_t on_us, uint32_t off_us) {
    credit += (int64_t)(((uint64_t)on_us + off_us) * duty_permille) - (int64_t)((uint64_t)on_us * 1000U);
    return credit < budget_full ? credit : budget_full;
}

#endif
