/* What the rest needs of a board: a clock, pins, a serial port, a wake-up, a watchdog. One file a kind of board. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#if defined(__AVR_ATmega328P__) || defined(__AVR_ATmega2560__)
#include "board_avr.h"
#elif defined(ARDUINO)
#include "board_arduino.h"
#else
#error "board.h: no such board; build for ATmega328P or ATmega2560, or with an Arduino core"
#endif

/*
   void board_begin(void)           Outputs low, then clock, port and watchdog.
   void board_loop_is_alive(void)   Once a pass; the watchdog resets the board when this stays away.
   void board_rest(void)            Sleep until the next interrupt if the device is idle.
   uint32_t board_now_us(void)      Clock, modulo 2^32.
   uint16_t board_ticks(void)       The same for edges: BOARD_TICKS_PER_US a microsecond, modulo 2^16. Interrupts are off.
   void board_wait_until(uint16_t ticks)   Wait here.
   void board_wake_at(uint16_t ticks)      Call outputs_service in time for an edge then; sooner does no harm.
   void board_wake_now(void)        Call it as soon as interrupts are on again.
   BOARD_PIN_TICKS                  From board_ticks to a pin that is set after it: what is due this soon is done now.
   BOARD_STAY_TICKS                 What is due this soon is waited for, not woken up for.
   void board_pin(uint8_t channel, uint16_t intensity)   0 is low. Interrupts are off.
   uint8_t board_lock(void), void board_unlock(uint8_t)  Keep interrupts out.
   int16_t board_receive(void)      The next byte or -1.
   uint8_t board_room(void)         Bytes that board_send takes without waiting.
   void board_send(uint8_t byte)
   uint8_t board_is_silent(void)    No byte waits.
*/

#endif
