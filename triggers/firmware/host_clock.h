/* Where the host's clock stands, so that a command that waited in a buffer is known to be old. */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include <stdint.h>

#include "protocol.h"

#define LEAK_SHIFT 7 /* The estimate gives way by 1 ms in 128 ms: a ceramic resonator is 0.5 % off. */

/* The smallest difference between the two clocks belongs to the frame that travelled fastest; what arrives with a larger
   one was under way for longer. */
static uint32_t clock_offset_ms;
static uint32_t clock_leaked_ms;

static void clock_start(uint32_t host_ms, uint32_t device_ms) {
    clock_offset_ms = device_ms - host_ms;
    clock_leaked_ms = host_ms;
}

static void clock_observe(uint32_t host_ms, uint32_t device_ms) {
    int32_t since_ms = (int32_t)(host_ms - clock_leaked_ms);
    if (since_ms > 0) {
        uint32_t leak_ms = (uint32_t)since_ms >> LEAK_SHIFT;
        clock_leaked_ms += leak_ms << LEAK_SHIFT;
        clock_offset_ms += leak_ms;
    }
    if ((int32_t)(device_ms - host_ms - clock_offset_ms) < 0) {
        clock_offset_ms = device_ms - host_ms;
    }
}

static uint8_t clock_is_past(uint32_t host_ms, uint32_t device_ms) {
    return (int32_t)(device_ms - clock_offset_ms - host_ms) > 0;
}

/* The same of a time of which only the lowest 16 bits are known: what is not a little ahead is past. */
static uint8_t clock_is_past_low(uint16_t host_ms, uint32_t device_ms) {
    return (uint16_t)(host_ms - (uint16_t)(device_ms - clock_offset_ms)) > WIRE_FIRE_AHEAD_MS;
}

#endif
