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

#define LONGEST_WAIT_US 15000 /* Less than half of the range of `board_ticks`, so that "past" is never in doubt. */

/* What a channel does at its time: these two to its pin, the others only to itself. */
enum { FALL, RISE, WAIT_ON, FINISH };

/* One output. An unbroken pulse is a train of one whose width and period are all that it lasts. All times are those that
   were asked for, counted from the first edge: an edge that comes late by some microseconds shifts no other. */
struct channel {
    uint8_t act;       /* What is to be done next, ... */
    uint16_t next;     /* ... and when, by `board_ticks`. */
    uint8_t then;      /* What is longer than LONGEST_WAIT_US is waited for in steps: what comes after them, ... */
    uint32_t later_us; /* ... and how much later than `next`. */
    uint16_t intensity;
    uint32_t left_us;  /* From the last rising edge to the end. */
    uint32_t width_us;
    uint32_t gap_us;   /* Between two of its pulses; 0 for an unbroken one. */
    uint32_t duration_us; /* As asked for: how much longer it goes on once it is extended. */
    uint32_t id;
    uint8_t reason;    /* Why it ended, ... */
    uint32_t ended_us; /* ... and when. */
};

static struct channel channels[N_CHANNELS];
static volatile uint8_t running; /* Bit n is set while channel n runs, ... */
static volatile uint8_t ended;   /* ... and from its end until the loop has said so. */
static uint32_t dead_us;         /* When everything goes off unless a valid frame comes. */

ALWAYS_INLINE void do_after(struct channel *c, uint32_t wait_us, uint8_t act) {
    if (wait_us > LONGEST_WAIT_US) {
        c->later_us = wait_us - LONGEST_WAIT_US;
        c->then = act;
        wait_us = LONGEST_WAIT_US;
        act = WAIT_ON;
    }
    c->act = act;
    c->next += (uint16_t)wait_us * BOARD_TICKS_PER_US;
}

ALWAYS_INLINE void channel_end(uint8_t i, uint8_t reason, uint32_t at_us) {
    board_pin(i, 0);
    channels[i].reason = reason;
    channels[i].ended_us = at_us;
    running &= ~(1 << i);
    ended |= 1 << i;
}

/* Goes one step on, from the time that was asked for, which is a few microseconds from now or ago. */
ALWAYS_INLINE void channel_step(uint8_t i, uint32_t now_us) {
    struct channel *c = &channels[i];
    if (c->act == RISE) {
        c->left_us -= c->width_us + c->gap_us;
        do_after(c, c->left_us < c->width_us ? c->left_us : c->width_us, FALL);
    } else if (c->act == FALL && c->left_us > c->width_us + c->gap_us) {
        do_after(c, c->gap_us, RISE);
    } else if (c->act == FALL && c->left_us > c->width_us) {
        do_after(c, c->left_us - c->width_us, FINISH);
    } else if (c->act == WAIT_ON) {
        do_after(c, c->later_us, c->then);
    } else {
        int16_t since = (int16_t)((uint16_t)now_us * BOARD_TICKS_PER_US - c->next);
        channel_end(i, WIRE_END_FINISHED, now_us - since / BOARD_TICKS_PER_US);
    }
}

/* Does all that is due and asks to be called again in time. Interrupts are off. It is called early, and an edge that is
   near is waited for here. Pins come before all that follows from them, and are looked at again after each such step: an
   edge waits for one step of another channel at most. Hence also two bytes for a time, and loops that are written out.
   How long this can stay is bounded by MIN_PERIOD_US: between their edges the channels leave more time than this takes. */
ALWAYS_INLINE void outputs_service(void) {
    uint8_t due = 0; /* Pins that are where they belong, and whose channel is to go a step on. */
    uint32_t now_us = board_now_us();
    int32_t dead_in_us = (int32_t)(dead_us - now_us);
    uint16_t look_at;
    if (dead_in_us <= 0) {
#define DIE(i)                                      \
    if (running & (1 << i)) {                       \
        channel_end(i, WIRE_END_DEAD_MAN, dead_us); \
    }
        EACH_CHANNEL(DIE)
    }
    look_at = (uint16_t)(now_us + (dead_in_us < LONGEST_WAIT_US ? dead_in_us : LONGEST_WAIT_US)) * BOARD_TICKS_PER_US;
    while (running != 0) {
        uint16_t now = board_ticks();
        uint8_t waiting = running & ~due;
        int16_t soonest = (int16_t)(LONGEST_WAIT_US * BOARD_TICKS_PER_US);
#define LOOK(i)                                            \
    if (waiting & (1 << i)) {                              \
        int16_t wait = (int16_t)(channels[i].next - now);  \
        if (wait <= BOARD_PIN_TICKS) {                     \
            if (channels[i].act == FALL) {                 \
                board_pin(i, 0);                           \
            } else if (channels[i].act == RISE) {          \
                board_pin(i, channels[i].intensity);       \
            }                                              \
            due |= 1 << i;                                 \
        } else if (wait < soonest) {                       \
            soonest = wait;                                \
        }                                                  \
    }
        EACH_CHANNEL(LOOK)
        if (due == 0) {
            if (soonest > BOARD_STAY_TICKS) {
                board_wake_at((int16_t)(look_at - now) < soonest ? look_at : now + soonest);
                return;
            }
            board_wait_until(now + soonest - BOARD_PIN_TICKS);
        }
#define STEP(i)                       \
    if (due & (1 << i)) {             \
        due &= ~(1 << i);             \
        channel_step(i, now_us);      \
    } else
        EACH_CHANNEL(STEP) {
        }
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
    c->width_us = width_us;
    c->gap_us = period_us - width_us;
    c->left_us = duration_us;
    c->duration_us = duration_us;
    c->next = 0;
    do_after(c, width_us < duration_us ? width_us : duration_us, FALL); /* From 0; all that can be done before is, as an edge of another channel may be waiting. */
    lock = board_lock();
    board_pin(i, intensity);
    start_us = board_now_us();
    board_unlock(lock); /* An edge of another channel may be waiting; this one is not looked at yet. */
    c->next += (uint16_t)start_us * BOARD_TICKS_PER_US;
    lock = board_lock();
    running |= bit;
    board_wake_now();
    board_unlock(lock);
    return start_us;
}

/* Where a pulse or train stands at a time, and what its channel is to do next. */
struct standing {
    uint32_t now_us;
    uint32_t phase_us; /* Since its last rising edge, ... */
    uint32_t left_us;  /* ... and from that to its end. */
    uint16_t next;
    uint8_t act;
    uint32_t later_us;
};

/* Interrupts are off, for a few microseconds: whatever can be worked out later is. */
ALWAYS_INLINE void standing_take(struct standing *s, const struct channel *c) {
    s->left_us = c->left_us;
    s->next = c->next;
    s->act = c->act;
    s->later_us = 0;
    if (c->act == WAIT_ON) {
        s->act = c->then;
        s->later_us = c->later_us;
    }
}

/* Looks where something stands; returns whether the channel runs it at all. */
static uint8_t outputs_find(uint8_t i, uint32_t id, struct standing *s) {
    const struct channel *c = &channels[i];
    uint32_t at_us; /* When the next edge, or the end, is to come, since the last rising edge. */
    int16_t wait_us;
    uint8_t lock = board_lock();
    uint8_t runs = running & (1 << i);
    standing_take(s, c);
    s->now_us = board_now_us();
    board_unlock(lock);
    at_us = s->act == RISE ? c->width_us + c->gap_us : s->left_us;
    at_us = (s->act == FALL && c->width_us < at_us ? c->width_us : at_us) - s->later_us;
    wait_us = (int16_t)(s->next - (uint16_t)s->now_us * BOARD_TICKS_PER_US) / BOARD_TICKS_PER_US;
    s->phase_us = wait_us > 0 && at_us < (uint32_t)wait_us ? 0 : at_us - wait_us; /* A pin is a little early. */
    return runs && c->id == id;
}

/* Puts the end off to the channel's duration after `s->now_us`, and with it what depends on it: no edge comes, goes or
   moves that lies before. Returns whether it was in time, else the channel is off as it was. */
static uint8_t outputs_extend(uint8_t i, struct standing *s) {
    struct channel *c = &channels[i];
    uint32_t by_us = s->phase_us + c->duration_us - s->left_us;
    for (;;) {
        uint32_t left_us = s->left_us + by_us;
        uint32_t period_us = c->width_us + c->gap_us;
        uint32_t width_us = c->gap_us == 0 ? left_us : c->width_us;
        uint32_t later_us = s->later_us;
        uint8_t act = s->act;
        uint8_t lock, runs, is_same;
        if (act == FALL && s->left_us < width_us) { /* It was to end with this pulse, or to cut it short. */
            later_us += (left_us < width_us ? left_us : width_us) - s->left_us;
        } else if (act == FINISH && left_us > period_us) {
            act = RISE;
            later_us += period_us - s->left_us;
        } else if (act == FINISH) {
            later_us += by_us;
        }
        lock = board_lock();
        runs = running & (1 << i);
        is_same = c->next == s->next;
        if (runs && is_same) {
            c->act = later_us != 0 ? (uint8_t)WAIT_ON : act; /* A wait for nothing would make an edge late by one step. */
            c->then = act;
            c->later_us = later_us;
            c->left_us = left_us;
            c->width_us = width_us;
        } else {
            standing_take(s, c);
        }
        board_unlock(lock);
        if (!runs || is_same) {
            return runs;
        } /* Else an edge came meanwhile; so near to it there is no other. */
    }
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
