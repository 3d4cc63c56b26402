/* Any other board with an Arduino core (Leonardo, Teensy): the core's own functions, edges timed by the loop. */
#ifndef BOARD_ARDUINO_H
#define BOARD_ARDUINO_H

#include <Arduino.h>
#include <stdint.h>

#include "config.h"
#include "protocol.h"
#if defined(__AVR__)
#include <avr/wdt.h>
#endif

#define BOARD_TICKS_PER_US 1
#define BOARD_PIN_TICKS 0
#define BOARD_STAY_TICKS 0

static inline void outputs_service(void);

static const uint8_t board_pins[N_CHANNELS] = {3, 5, 6, 9}; /* All can be dimmed on Leonardo and Teensy. */

static void board_pin(uint8_t channel, uint16_t intensity) {
    uint8_t level = intensity >> 8;
    if (intensity == WIRE_FULL_INTENSITY || level == 0) {
        digitalWrite(board_pins[channel], level != 0 ? HIGH : LOW);
    } else {
        analogWrite(board_pins[channel], level);
    }
}

static uint8_t board_lock(void) {
    return 0; /* No interrupt touches the outputs. */
}

static void board_unlock(uint8_t state) {
    (void)state;
}

static uint32_t board_now_us(void) {
    return micros();
}

static uint16_t board_ticks(void) {
    return (uint16_t)micros();
}

static void board_wait_until(uint16_t ticks) {
    while ((int16_t)(board_ticks() - ticks) < 0) {
    }
}

static void board_wake_now(void) {
}

static void board_wake_at(uint16_t ticks) {
    (void)ticks; /* The loop looks every time it comes round. */
}

static int16_t board_receive(void) {
    return Serial.read();
}

static uint8_t board_is_silent(void) {
    return Serial.available() == 0;
}

static uint8_t board_room(void) {
    int room = Serial.availableForWrite();
    return room > 255 ? 255 : room < 0 ? 0 : (uint8_t)room;
}

static void board_send(uint8_t byte) {
    Serial.write(byte);
}

static void board_begin(void) {
    for (uint8_t i = 0; i < N_CHANNELS; i++) {
        digitalWrite(board_pins[i], LOW);
        pinMode(board_pins[i], OUTPUT);
    }
    Serial.begin(BAUD_RATE);
#if defined(__AVR__)
    wdt_enable(WDTO_120MS);
#endif
}

static void board_loop_is_alive(void) {
#if defined(__AVR__)
    wdt_reset();
#endif
    outputs_service();
}

static void board_rest(void) {
}

#endif
