/* What the stimulator does with a frame: greeting, limits, pulses, refusals. triggers/device.py is the reference. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>
#include <string.h>

#include "board.h"
#include "budget.h"
#include "config.h"
#include "frames.h"
#include "host_clock.h"
#include "outputs.h"
#include "protocol.h"
#include "slots.h"

#define ALL_CHANNELS 0xFF

static struct receiver receiver;
static struct sender sender;
static struct budget budgets[N_CHANNELS];
static uint8_t resting[N_CHANNELS]; /* Set until the channel has been off for CAP_MIN_OFF_US. */
static uint8_t greeted;
static uint32_t max_on_us = CAP_MAX_ON_US;
static uint16_t dead_man_ms = CAP_DEAD_MAN_MS;
static uint32_t alive_us;
static uint32_t ms;       /* Device clock in ms, and ... */
static uint32_t ms_at_us; /* ... in us when that ms began. */

/* --- answers --- */

static void send_identity(uint32_t id) {
    uint8_t i;
    sender_begin(&sender, WIRE_IDENTITY, id);
    put_u8(&sender, FIRMWARE_MAJOR);
    put_u8(&sender, FIRMWARE_MINOR);
    put_u8(&sender, N_CHANNELS);
    put_u32(&sender, max_on_us);
    put_u16(&sender, duty_permille);
    put_u16(&sender, CAP_DUTY_WINDOW_MS);
    put_u16(&sender, dead_man_ms);
    for (i = 0; i < WIRE_NAME_BYTES; i++) {
        put_u8(&sender, i < sizeof DEVICE_NAME ? (uint8_t)DEVICE_NAME[i] : 0);
    }
    sender_finish(&sender);
}

static void send_ack(uint32_t id, uint8_t answered, uint16_t outputs, uint32_t now_us) {
    sender_begin(&sender, WIRE_ACK, id);
    put_u8(&sender, answered);
    put_u16(&sender, outputs);
    put_u32(&sender, now_us);
    sender_finish(&sender);
}

static void send_refused(uint32_t id, uint8_t answered, uint8_t reason, uint32_t now_us) {
    sender_begin(&sender, WIRE_REFUSED, id);
    put_u8(&sender, answered);
    put_u8(&sender, reason);
    put_u32(&sender, now_us);
    sender_finish(&sender);
}

/* --- what has ended --- */

static void settle(uint8_t i) {
    struct channel *c = &channels[i];
    uint8_t lock;
    budget_reckon(&budgets[i], c->ended_us);
    budgets[i].period_us = 0;
    resting[i] = 1;
    sender_begin(&sender, WIRE_DONE, c->id);
    put_u8(&sender, c->reason);
    put_u32(&sender, c->ended_us);
    sender_finish(&sender);
    lock = board_lock();
    ended &= ~(1 << i);
    board_unlock(lock);
}

/* Reports the channel that ended first of those not yet reported; returns whether there was one. */
static uint8_t settle_first(void) {
    uint8_t first = N_CHANNELS;
    uint8_t waiting = ended;
    uint8_t i;
    if (waiting == 0) {
        return 0;
    }
    for (i = 0; i < N_CHANNELS; i++) {
        if ((waiting & (1 << i)) &&
            (first == N_CHANNELS || (int32_t)(channels[i].ended_us - channels[first].ended_us) < 0)) {
            first = i;
        }
    }
    settle(first);
    return 1;
}

static void settle_all(void) {
    uint8_t i;
    for (i = 0; i < N_CHANNELS && settle_first(); i++) {
    }
}

/* Ends what runs on the channels of `which` and reports it; returns when, us. */
static uint32_t end(uint8_t which, uint8_t reason) {
    uint32_t now_us = outputs_end(which, reason); /* All pins first, then all the talk about it. */
    settle_all();
    return now_us;
}

/* --- commands --- */

static void set_duty(uint16_t permille, uint32_t now_us) {
    uint8_t i;
    for (i = 0; i < N_CHANNELS; i++) { /* Reckoned at the old rate until now. */
        budget_reckon(&budgets[i], now_us);
    }
    budget_set_duty(permille);
    for (i = 0; i < N_CHANNELS; i++) {
        budget_add(&budgets[i], 0); /* What the smaller bucket can't hold is gone. */
    }
}

static void begin_session(uint32_t host_ms) {
    uint32_t now_us = end(ALL_CHANNELS, WIRE_END_ALL_OFF);
    greeted = 1;
    slots_forget();
    newest_id = 0;
    clock_start(host_ms, ms);
    max_on_us = CAP_MAX_ON_US;
    dead_man_ms = CAP_DEAD_MAN_MS;
    set_duty(CAP_MAX_DUTY_PERMILLE, now_us);
}

static void lower_limits(const uint8_t *payload, uint32_t now_us) {
    uint32_t on_us = read_u32(payload + WIRE_LIMITS_AT_MAX_ON_US);
    uint16_t permille = read_u16(payload + WIRE_LIMITS_AT_MAX_DUTY_PERMILLE);
    uint16_t silence_ms = read_u16(payload + WIRE_LIMITS_AT_DEAD_MAN_MS);
    slots_forget();
    max_on_us = on_us < max_on_us ? on_us : max_on_us;
    dead_man_ms = silence_ms < dead_man_ms ? silence_ms : dead_man_ms;
    set_duty(permille < duty_permille ? permille : duty_permille, now_us);
    outputs_keep_until(alive_us + dead_man_ms * 1000UL);
}

static void sign_of_life(uint32_t now_us) {
    alive_us = now_us;
    outputs_keep_until(alive_us + dead_man_ms * 1000UL);
}

/* What waited so long that 16 bits of expiry may not tell finds nothing to fire. */
static void forget_after_silence(uint32_t now_us) {
    if ((int32_t)(now_us - dead_us) >= 0) {
        slots_forget();
    }
}

/* Returns why the times contradict one another or are finer than the board can tell, or 0. */
static uint8_t malformed(uint32_t duration_us, uint32_t period_us, uint32_t width_us) {
    if (period_us == 0) {
        return width_us != 0 || duration_us < MIN_ON_US ? WIRE_REASON_BAD_VALUE : 0;
    }
    if (duration_us < MIN_ON_US || width_us < MIN_ON_US || width_us >= period_us || period_us < MIN_PERIOD_US) {
        return WIRE_REASON_BAD_VALUE;
    }
    return period_us - width_us < CAP_MIN_OFF_US ? WIRE_REASON_MAX_DUTY : 0;
}

/* Makes ready what was read of a pulse; returns why it can't be put out at any time, or 0. */
static uint8_t prepare(struct pulse *p) {
    uint8_t reason;
    if (p->channel >= N_CHANNELS) {
        return WIRE_REASON_BAD_CHANNEL;
    }
    reason = malformed(p->duration_us, p->period_us, p->width_us);
    if (reason != 0) {
        return reason;
    }
    if (p->period_us == 0) {
        p->period_us = p->width_us = p->duration_us;
    }
    p->need = budget_need((p->duration_us - 1) / p->period_us + 1, p->period_us, pulse_on_us(p));
    return 0;
}

/* Returns why a pulse that is ready can't be put out now, or 0. */
static uint8_t why_not_now(const struct pulse *p, uint32_t now_us) {
    struct budget *b = &budgets[p->channel];
    if (((running | ended) & (1 << p->channel)) || resting[p->channel]) {
        return WIRE_REASON_BUSY;
    }
    if (pulse_on_us(p) > max_on_us) {
        return WIRE_REASON_MAX_ON;
    }
    budget_reckon(b, now_us);
    return b->credit >= p->need ? 0 : WIRE_REASON_MAX_DUTY;
}

static void put_out(uint32_t id, uint8_t answered, const struct pulse *p) {
    uint32_t now_us = outputs_start(p->channel, id, p->intensity, p->duration_us, p->period_us, p->width_us);
    uint16_t outputs = running | (uint16_t)1 << p->channel; /* As it was then; the shortest pulse is over before long. */
    struct budget *b = &budgets[p->channel];
    sign_of_life(now_us); /* Once more: as if the frame had been read when its pulse began. */
    budget_reckon(b, now_us);
    b->period_us = p->period_us;
    b->width_us = p->width_us;
    b->phase_us = 0;
    send_ack(id, answered, outputs, now_us);
}

static void pulse_train(uint32_t id, const uint8_t *payload, uint32_t now_us) {
    struct pulse p;
    uint8_t reason = WIRE_REASON_NO_HELLO;
    newest_id = id;
    if (greeted) {
        pulse_read(&p, payload);
        reason = prepare(&p);
        if (reason == 0) {
            reason = clock_is_past(read_u32(payload + WIRE_PULSE_TRAIN_AT_EXPIRES_MS), ms) ? WIRE_REASON_EXPIRED
                                                                                          : why_not_now(&p, now_us);
        }
    }
    if (reason != 0) {
        send_refused(id, WIRE_PULSE_TRAIN, reason, now_us);
    } else {
        put_out(id, WIRE_PULSE_TRAIN, &p);
    }
}

static void program(uint32_t id, const uint8_t *payload, uint32_t now_us) {
    struct pulse p;
    uint8_t slot = payload[WIRE_PROGRAM_AT_SLOT];
    uint8_t reason = 0;
    pulse_read(&p, payload + WIRE_PROGRAM_AT_CHANNEL);
    if (!greeted) {
        reason = WIRE_REASON_NO_HELLO;
    } else if (slot >= WIRE_N_SLOTS) {
        reason = WIRE_REASON_NO_SLOT;
    } else if ((reason = prepare(&p)) != 0) {
    } else if (pulse_on_us(&p) > max_on_us) {
        reason = WIRE_REASON_MAX_ON;
    } else if (p.need > budget_full) {
        reason = WIRE_REASON_MAX_DUTY;
    }
    if (reason != 0) {
        send_refused(id, WIRE_PROGRAM, reason, now_us);
        return;
    }
    slots[slot] = p;
    send_ack(id, WIRE_PROGRAM, running, now_us);
}

/* Little is done before the pin: this is why the pulse was stored. */
static void fire(const uint8_t *body, uint32_t now_us) {
    const struct pulse *p = &slots[(body[0] >> 4) & (WIRE_N_SLOTS - 1)];
    int16_t step = id_step((uint16_t)((body[0] & 0x0F) << 8) | body[1]);
    uint32_t id = newest_id + step;
    uint8_t reason;
    if (step > 0) {
        newest_id = id; /* Also if it is refused: it won't be carried out later. */
    }
    if (!greeted) {
        reason = WIRE_REASON_NO_HELLO;
    } else if (p->duration_us == 0) {
        reason = WIRE_REASON_NO_SLOT;
    } else if (step <= 0) {
        reason = WIRE_REASON_REPLAYED;
    } else if (clock_is_past_low(read_u16(body + WIRE_FIRE_AT_EXPIRES_MS), ms)) {
        reason = WIRE_REASON_EXPIRED;
    } else {
        reason = why_not_now(p, now_us);
    }
    if (reason != 0) {
        send_refused(id, WIRE_FIRE, reason, now_us);
    } else {
        put_out(id, WIRE_FIRE, p);
    }
}

/* Returns the cap that stands against what runs lasting its duration from `s->now_us` on, or 0. What it has been on
   already counts as well. */
static uint8_t cap_against_extending(uint8_t channel, const struct standing *s) {
    const struct channel *c = &channels[channel];
    uint8_t is_unbroken = c->gap_us == 0;
    uint32_t period_us = c->width_us + c->gap_us;
    uint32_t left_us = s->phase_us + c->duration_us; /* From its last rising edge to its new end. */
    uint32_t width_us = is_unbroken || left_us < c->width_us ? left_us : c->width_us;
    uint32_t on_us = width_us > s->phase_us ? width_us - s->phase_us : 0; /* Of the pulse under way; ... */
    struct budget *b = &budgets[channel];
    if (left_us < c->duration_us) {
        return WIRE_REASON_BAD_VALUE; /* More than 32 bits tell. */
    }
    if (width_us > max_on_us) {
        return WIRE_REASON_MAX_ON;
    }
    budget_reckon(b, s->now_us);
    if (b->credit < budget_need(1, on_us, on_us)) {
        return WIRE_REASON_MAX_DUTY;
    }
    if (is_unbroken || left_us <= period_us) {
        return 0;
    }
    left_us -= period_us; /* ... behind it comes a train as long as this. */
    width_us = width_us < left_us ? width_us : left_us;
    if (budget_after(b->credit, on_us, period_us - s->phase_us - on_us) <
        budget_need((left_us - 1) / period_us + 1, period_us, width_us)) {
        return WIRE_REASON_MAX_DUTY;
    }
    return 0;
}

static void go_on(uint32_t id, uint8_t channel, const struct standing *s) {
    const struct channel *c = &channels[channel];
    struct budget *b = &budgets[channel];
    sign_of_life(s->now_us);
    if (c->gap_us == 0) {
        b->phase_us = s->phase_us;
        b->period_us = b->width_us = s->phase_us + c->duration_us;
    }
    send_ack(id, WIRE_EXTEND, running | (uint16_t)1 << channel, s->now_us);
}

/* Returns why what runs is not to last longer, or 0 if it does from now on; tells when it was looked at. */
static uint8_t extend_if_allowed(uint8_t channel, uint32_t extended_id, struct standing *s) {
    uint8_t reason;
    if (!outputs_find(channel, extended_id, s)) {
        return WIRE_REASON_NOT_RUNNING;
    }
    reason = cap_against_extending(channel, s);
    if (reason == 0 && !outputs_extend(channel, s)) {
        s->now_us = board_now_us(); /* It ended while this was worked out. */
        reason = WIRE_REASON_NOT_RUNNING;
    }
    return reason;
}

static void extend(uint32_t id, const uint8_t *payload, uint32_t now_us) {
    uint8_t channel = payload[WIRE_EXTEND_AT_CHANNEL];
    uint8_t is_new = (int32_t)(id - newest_id) > 0;
    uint8_t reason = 0;
    struct standing s;
    s.now_us = now_us;
    if (is_new) {
        newest_id = id; /* Also if it is refused. */
    }
    if (!greeted) {
        reason = WIRE_REASON_NO_HELLO;
    } else if (!is_new) {
        reason = WIRE_REASON_REPLAYED;
    } else if (channel >= N_CHANNELS) {
        reason = WIRE_REASON_BAD_CHANNEL;
    } else if (clock_is_past(read_u32(payload + WIRE_EXTEND_AT_EXPIRES_MS), ms)) {
        reason = WIRE_REASON_EXPIRED;
    } else {
        reason = extend_if_allowed(channel, read_u32(payload + WIRE_EXTEND_AT_EXTENDS), &s);
    }
    if (reason != 0) {
        send_refused(id, WIRE_EXTEND, reason, s.now_us);
    } else {
        go_on(id, channel, &s);
    }
}

static void stop(uint32_t id, uint8_t channel, uint32_t now_us) {
    if (channel >= N_CHANNELS) {
        send_refused(id, WIRE_STOP, WIRE_REASON_BAD_CHANNEL, now_us);
        return;
    }
    now_us = end(1 << channel, WIRE_END_STOPPED);
    send_ack(id, WIRE_STOP, running, now_us);
}

/* Returns the size of a type's payload, or 255 if there is no such type. */
static uint8_t payload_bytes(uint8_t type) {
    switch (type) {
    case WIRE_HELLO: return WIRE_HELLO_BYTES;
    case WIRE_LIMITS: return WIRE_LIMITS_BYTES;
    case WIRE_HEARTBEAT: return WIRE_HEARTBEAT_BYTES;
    case WIRE_PULSE_TRAIN: return WIRE_PULSE_TRAIN_BYTES;
    case WIRE_STOP: return WIRE_STOP_BYTES;
    case WIRE_ALL_OFF: return WIRE_ALL_OFF_BYTES;
    case WIRE_PROGRAM: return WIRE_PROGRAM_BYTES;
    case WIRE_EXTEND: return WIRE_EXTEND_BYTES;
    case WIRE_BOOT: return WIRE_BOOT_BYTES;
    case WIRE_IDENTITY: return WIRE_IDENTITY_BYTES;
    case WIRE_ACK: return WIRE_ACK_BYTES;
    case WIRE_REFUSED: return WIRE_REFUSED_BYTES;
    case WIRE_DONE: return WIRE_DONE_BYTES;
    default: return 255;
    }
}

static void handle(const uint8_t *body, uint8_t n, uint32_t now_us) {
    uint8_t type = body[1];
    uint32_t id = read_u32(body + 2);
    const uint8_t *payload = body + WIRE_HEADER_BYTES;
    uint8_t known = body[0] == WIRE_PROTOCOL_VERSION;
    uint8_t is_fire = body[0] & WIRE_FIRE_MARK;
    if (is_fire ? n != WIRE_FIRE_BODY_BYTES : n < WIRE_HEADER_BYTES) {
        return;
    }
#ifdef TEST_HANG /* Only in a build for the tests: a loop that never comes round again, with and without interrupts. */
    if (known && type == 0x7F) {
        for (;;) {
        }
    }
    if (known && type == 0x7E) {
        board_lock();
        for (;;) {
        }
    }
#endif
    if (known && n - WIRE_HEADER_BYTES != payload_bytes(type)) {
        return;
    }
    forget_after_silence(now_us);
    sign_of_life(now_us);
    settle_all(); /* What ended before this frame is reported before its answer. */
    if (is_fire) {
        fire(body, now_us);
        return;
    }
    if (!known) {
        send_identity(0); /* Its header tells the host which version is spoken here. */
        return;
    }
    switch (type) {
    case WIRE_HELLO:
        begin_session(read_u32(payload + WIRE_HELLO_AT_HOST_MS));
        sign_of_life(now_us);
        send_identity(id);
        break;
    case WIRE_LIMITS:
        lower_limits(payload, now_us);
        send_identity(id);
        break;
    case WIRE_HEARTBEAT:
        clock_observe(read_u32(payload + WIRE_HEARTBEAT_AT_HOST_MS), ms);
        send_ack(id, type, running, now_us);
        break;
    case WIRE_PULSE_TRAIN:
        pulse_train(id, payload, now_us);
        break;
    case WIRE_PROGRAM:
        program(id, payload, now_us);
        break;
    case WIRE_EXTEND:
        extend(id, payload, now_us);
        break;
    case WIRE_STOP:
        stop(id, payload[WIRE_STOP_AT_CHANNEL], now_us);
        break;
    case WIRE_ALL_OFF:
        now_us = end(ALL_CHANNELS, WIRE_END_ALL_OFF);
        send_ack(id, type, running, now_us);
        break;
    default: /* An echo of our own. */
        break;
    }
}

/* --- the loop --- */

static void tick(uint32_t now_us) {
    while (now_us - ms_at_us >= 1000) { /* Seldom more than once: the loop comes round at least every 33 ms. */
        ms_at_us += 1000;
        ms++;
    }
}

/* Looks after one channel a pass: its budget stays within what 32 bits can reckon, its rest ends. */
static void look_after(uint32_t now_us) {
    static uint8_t i;
    forget_after_silence(now_us); /* Here too, lest a silence of half the clock's range look like none. */
    i = (uint8_t)(i + 1) % N_CHANNELS;
    if (resting[i] && now_us - channels[i].ended_us >= CAP_MIN_OFF_US) {
        resting[i] = 0;
    }
    if (now_us - budgets[i].reckoned_us < RECKON_EVERY_US) {
        return;
    }
    if (!(ended & (1 << i))) { /* Else it is reckoned to its end, by `settle`. */
        budget_reckon(&budgets[i], now_us);
    }
}

static void device_begin(void) {
    uint8_t i;
    budget_set_duty(CAP_MAX_DUTY_PERMILLE);
    for (i = 0; i < N_CHANNELS; i++) {
        budgets[i].credit = budget_full;
    }
    receiver_restart(&receiver);
    sender_begin(&sender, WIRE_BOOT, 0);
    sender_finish(&sender);
}

/* One pass: one ended channel or one byte, and one channel looked after. Nothing here waits. */
static void device_pass(void) {
    uint32_t now_us = board_now_us();
    tick(now_us);
    if (!settle_first()) {
        int16_t byte = board_receive();
        if (byte >= 0) {
            uint8_t n = receiver_take(&receiver, (uint8_t)byte);
            if (n != 0) {
                handle(receiver.bytes, n, now_us);
                receiver_restart(&receiver);
            }
        }
    }
    look_after(board_now_us());
}

/* Returns whether the loop may rest until the next interrupt. */
static inline uint8_t device_is_idle(void) {
    return ended == 0 && board_is_silent();
}

#endif
