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

#define BOARD_EARLY_US 0

static void outputs_service(void);

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

static void board_wake_now(void) {
}

static void board_wake_in(uint16_t now_us, int16_t wait_us) {
    (void)now_us;
    (void)wait_us; /* The loop looks every time it comes round. */
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
