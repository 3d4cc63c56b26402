/* Pulses as the device keeps them, and those that the host stored to have them fired by a frame of nine bytes. */
#ifndef SLOTS_H
#define SLOTS_H

#include <stdint.h>
#include <string.h>

#include "frames.h"
#include "protocol.h"

/* A pulse or train; an unbroken pulse is a train of one whose width and period are its duration. */
struct pulse {
    uint8_t channel;
    uint16_t intensity;
    uint32_t duration_us; /* 0 in a slot that holds nothing. */
    uint32_t period_us;
    uint32_t width_us;
    int64_t need; /* Credit that its channel's budget must have: worked out when it is stored, not when it is fired. */
};

/* Returns the longest unbroken on-time: all of it may be shorter than one width. */
static uint32_t pulse_on_us(const struct pulse *p) {
    return p->width_us < p->duration_us ? p->width_us : p->duration_us;
}

/* They hold only what the limits in force allow, so whatever changes a limit forgets them all. */
static struct pulse slots[WIRE_N_SLOTS];

static void slots_forget(void) {
    memset(slots, 0, sizeof slots);
}

/* The newest id of a pulse command: a Fire brings its lowest bits, and must be newer. */
static uint32_t newest_id;

/* Returns how much newer an id is of which only the lowest bits are known; 0 or less for one that was there before. */
static int16_t id_step(uint16_t low_bits) {
    uint16_t step = (uint16_t)(low_bits - (uint16_t)newest_id) << (16 - WIRE_FIRE_ID_BITS);
    return (int16_t)step / (1 << (16 - WIRE_FIRE_ID_BITS)); /* The bits below are 0: nothing is rounded. */
}

#if WIRE_PROGRAM_AT_INTENSITY - WIRE_PROGRAM_AT_CHANNEL != WIRE_PULSE_TRAIN_AT_INTENSITY || \
    WIRE_PROGRAM_AT_WIDTH_US - WIRE_PROGRAM_AT_CHANNEL != WIRE_PULSE_TRAIN_AT_WIDTH_US
#error "slots.h: pulse_read takes the fields of a Program to lie as those of a PulseTrain do"
#endif

/* Takes a pulse as it stands in a PulseTrain, or in a Program from its channel on. */
static void pulse_read(struct pulse *p, const uint8_t *at) {
    p->channel = at[WIRE_PULSE_TRAIN_AT_CHANNEL];
    p->intensity = read_u16(at + WIRE_PULSE_TRAIN_AT_INTENSITY);
    p->duration_us = read_u32(at + WIRE_PULSE_TRAIN_AT_DURATION_US);
    p->period_us = read_u32(at + WIRE_PULSE_TRAIN_AT_PERIOD_US);
    p->width_us = read_u32(at + WIRE_PULSE_TRAIN_AT_WIDTH_US);
}

#endif
