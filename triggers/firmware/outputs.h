/* Pulses and trains: every edge after the first, the end and the dead-man switch, from the timer interrupt. */
#ifndef OUTPUTS_H
#define OUTPUTS_H

#include <stdint.h>

#include "board.h"
#include "config.h"
#include "protocol.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define EACH_CHANNEL(DO) DO(0) DO(1) DO(2) DO(3)
#if N_CHANNELS != 4
#error "outputs.h: EACH_CHANNEL lists four channels"
#endif

#define MOST_ROUNDS 8
#define LONGEST_WAIT_US 30000U /* Less than half of 2^16, so that "past" is never in doubt. */

/* One output. An unbroken pulse is a train of one whose width and period are its duration. All times are those that
   were asked for, counted from the first edge: an edge that comes late by some microseconds shifts no other. */
struct channel {
    uint8_t on;
    uint8_t reason; /* Why it ended. */
    uint16_t intensity;
    uint16_t next_us;  /* When something is to be done next, modulo 2^16, ... */
    uint32_t later_us; /* ... or that much later: what is longer than LONGEST_WAIT_US is waited for in steps. */
    uint32_t left_us;  /* From the last rising edge to the end. */
    uint32_t width_us;
    uint32_t gap_us;
    uint32_t period_us;
    uint32_t id;
    uint32_t ended_us;
};

static struct channel channels[N_CHANNELS];
static volatile uint8_t running; /* Bit n is set while channel n runs, ... */
static volatile uint8_t ended;   /* ... and from its end until the loop has said so. */
static uint32_t dead_us;         /* When everything goes off unless a valid frame comes. */

ALWAYS_INLINE void wait_for(struct channel *c, uint32_t wait_us) {
    c->later_us = 0;
    if (wait_us > LONGEST_WAIT_US) {
        c->later_us = wait_us - LONGEST_WAIT_US;
        wait_us = LONGEST_WAIT_US;
    }
    c->next_us += (uint16_t)wait_us;
}

ALWAYS_INLINE void channel_end(uint8_t i, uint8_t reason, uint32_t at_us) {
    board_pin(i, 0);
    channels[i].reason = reason;
    channels[i].ended_us = at_us;
    running &= ~(1 << i);
    ended |= 1 << i;
}

/* Puts the pin where it belongs now; what follows from that comes in `channel_step`, when every pin is done. */
ALWAYS_INLINE void channel_edge(uint8_t i) {
    struct channel *c = &channels[i];
    if (c->later_us != 0) {
        return;
    }
    if (c->on) {
        board_pin(i, 0);
    } else if (c->left_us > c->period_us) {
        board_pin(i, c->intensity);
    }
}

/* Goes one step on, from the time for which it was asked. */
ALWAYS_INLINE void channel_step(uint8_t i, uint32_t now_us) {
    struct channel *c = &channels[i];
    if (c->later_us != 0) {
        wait_for(c, c->later_us);
    } else if (c->on) {
        c->on = 0;
        if (c->left_us <= c->width_us) {
            channel_end(i, WIRE_END_FINISHED, now_us - (uint16_t)((uint16_t)now_us - c->next_us));
        } else if (c->left_us < c->period_us) {
            wait_for(c, c->left_us - c->width_us);
        } else {
            wait_for(c, c->gap_us);
        }
    } else if (c->left_us > c->period_us) {
        c->left_us -= c->period_us;
        c->on = 1;
        wait_for(c, c->left_us < c->width_us ? c->left_us : c->width_us);
    } else {
        channel_end(i, WIRE_END_FINISHED, now_us - (uint16_t)((uint16_t)now_us - c->next_us));
    }
}

/* Does all that is due and asks to be called again in time. Interrupts are off. Pins come before all that follows from
   them, and are looked at again after each such step: an edge waits for one step of another channel at most. Hence also
   two bytes for a time, and loops that are written out. */
static void outputs_service(void) {
    uint8_t due = 0; /* Pins that are where they belong, and whose channel is to go a step on. */
    uint8_t rounds = MOST_ROUNDS;
    uint32_t now_us;
    int32_t dead_in_us;
    int16_t wake_in_us;
    do {
        now_us = board_now_us() + BOARD_EARLY_US;
        dead_in_us = (int32_t)(dead_us - now_us);
        if (dead_in_us <= 0) {
            break;
        }
        wake_in_us = dead_in_us > (int32_t)LONGEST_WAIT_US ? LONGEST_WAIT_US : (int16_t)dead_in_us;
#define LOOK(i)                                                                      \
    if (running & ~due & (1 << i)) {                                                 \
        int16_t in_us = (int16_t)(channels[i].next_us - (uint16_t)now_us);           \
        if (in_us <= 0) {                                                            \
            channel_edge(i);                                                         \
            due |= 1 << i;                                                           \
        } else if (in_us < wake_in_us) {                                             \
            wake_in_us = in_us;                                                      \
        }                                                                            \
    }
        EACH_CHANNEL(LOOK)
        if (due == 0) {
            break;
        }
#define STEP(i)                       \
    if (due & (1 << i)) {             \
        due &= ~(1 << i);             \
        channel_step(i, now_us);      \
    } else
        EACH_CHANNEL(STEP) {
        }
    } while (--rounds != 0);
#define FINISH(i)                     \
    if (due & (1 << i)) {             \
        channel_step(i, now_us);      \
    }
    if (due != 0) {
        EACH_CHANNEL(FINISH)
    }
#define DIE(i)                                      \
    if (running & (1 << i)) {                       \
        channel_end(i, WIRE_END_DEAD_MAN, dead_us); \
    }
    if (dead_in_us <= 0) {
        EACH_CHANNEL(DIE)
    } else if (running != 0) {
        board_wake_in((uint16_t)now_us, rounds != 0 ? wake_in_us : 0);
    }
}

/* Begins on an idle channel; returns when its pin went up, us. */
static uint32_t outputs_start(uint8_t i, uint32_t id, uint16_t intensity, uint32_t duration_us, uint32_t period_us,
                              uint32_t width_us) {
    struct channel *c = &channels[i];
    uint32_t start_us;
    uint8_t bit = 1 << i;
    uint8_t lock;
    c->id = id;
    c->intensity = intensity;
    c->period_us = period_us;
    c->width_us = width_us;
    c->gap_us = period_us - width_us;
    c->left_us = duration_us;
    c->on = 1;
    c->next_us = 0;
    wait_for(c, width_us); /* From 0; all that can be done before is, as an edge of another channel may be waiting. */
    lock = board_lock();
    board_pin(i, intensity);
    start_us = board_now_us();
    board_unlock(lock); /* An edge of another channel may be waiting; this one is not looked at yet. */
    c->next_us += (uint16_t)start_us;
    lock = board_lock();
    running |= bit;
    board_wake_now();
    board_unlock(lock);
    return start_us;
}

/* Ends what runs on the channels of `which`, bit n for channel n; returns when, us. */
static uint32_t outputs_end(uint8_t which, uint8_t reason) {
    uint8_t lock = board_lock();
    uint32_t now_us = board_now_us();
#define END(i)                           \
    if (running & which & (1 << i)) {    \
        channel_end(i, reason, now_us);  \
    }
    EACH_CHANNEL(END)
    board_unlock(lock);
    return now_us;
}

/* Sets when everything goes off unless it is set again. */
static void outputs_keep_until(uint32_t at_us) {
    uint8_t lock = board_lock();
    if ((int32_t)(at_us - dead_us) < 0) {
        board_wake_now(); /* The next look may be set for later than that. */
    }
    dead_us = at_us;
    board_unlock(lock);
}

#endif
