/* ATmega328P (Uno, Nano) and ATmega2560 (Mega): registers as the datasheets name them, with or without an Arduino core. */
#ifndef BOARD_AVR_H
#define BOARD_AVR_H

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <stdint.h>

#include "config.h"

#if F_CPU != 16000000UL
#error "board_avr.h: the clock is reckoned for 16 MHz"
#endif

static inline void outputs_service(void);
static inline uint8_t device_is_idle(void);

/* --- pins --- */

/* Every output can be dimmed: its pin belongs to a timer that has nothing else to do. The carrier is 62.5 kHz, above
   what tissue or an LED driver follows. X(channel, port, bit, compare register, its control register and the
   bit that connects them, the timer's clock register and the bit that starts it) */
#if defined(__AVR_ATmega328P__) /* Arduino pins 3, 5, 6, 11. */
#define EACH_PIN(X)                                 \
    X(0, D, 3, OCR2B, TCCR2A, COM2B1, TCCR2B, CS20) \
    X(1, D, 5, OCR0B, TCCR0A, COM0B1, TCCR0B, CS00) \
    X(2, D, 6, OCR0A, TCCR0A, COM0A1, TCCR0B, CS00) \
    X(3, B, 3, OCR2A, TCCR2A, COM2A1, TCCR2B, CS20)
#else /* Arduino pins 2, 3, 5, 6. */
#define EACH_PIN(X)                                  \
    X(0, E, 4, OCR3BL, TCCR3A, COM3B1, TCCR3B, CS30) \
    X(1, E, 5, OCR3CL, TCCR3A, COM3C1, TCCR3B, CS30) \
    X(2, E, 3, OCR3AL, TCCR3A, COM3A1, TCCR3B, CS30) \
    X(3, H, 3, OCR4AL, TCCR4A, COM4A1, TCCR4B, CS40)
#endif

#define PIN_LOW(channel, port, bit, compare, control, connect, clock, start) \
    PORT##port &= ~_BV(bit);                                                 \
    DDR##port |= _BV(bit);

/* Right after reset, before memory is even cleared: outputs low, and the watchdog off, which after its own reset would
   otherwise bite again in 15 ms. */
extern "C" void board_first(void) __attribute__((naked, used, section(".init3")));
void board_first(void) {
    EACH_PIN(PIN_LOW)
    MCUSR = 0;
    wdt_disable();
}

static inline __attribute__((always_inline)) void board_pin(uint8_t channel, uint16_t intensity) {
    uint8_t level = intensity >> 8; /* Of 256, rounded down: never more than asked. */
    switch (channel) {
#define PIN_CASE(index, port, bit, compare, control, connect, clock, start) \
    case index:                                                             \
        if (level == 0) {                                                   \
            control &= ~_BV(connect);                                       \
            PORT##port &= ~_BV(bit);                                        \
        } else if (intensity == WIRE_FULL_INTENSITY) {                      \
            PORT##port |= _BV(bit);                                         \
        } else {                                                            \
            clock |= _BV(start);                                            \
            compare = level - 1;                                            \
            control |= _BV(connect);                                        \
        }                                                                   \
        break;
        EACH_PIN(PIN_CASE)
    }
}

static uint8_t board_lock(void) {
    uint8_t state = SREG;
    cli();
    return state;
}

static void board_unlock(uint8_t state) {
    SREG = state;
}

/* --- clock: timer 1, free-running at 2 MHz --- */

#define BOARD_TICKS_PER_US 2
#define WRAP_US (65536UL / BOARD_TICKS_PER_US)
#define BOARD_PIN_TICKS 10   /* Halfway between a pin that is set right after a look, and one that comes after others. */
#define BOARD_STAY_TICKS 40 /* About what it takes to leave the interrupt and to come back. */
#define LEAD_TICKS 36       /* From a compare match to the first pin, where another interrupt is under way. */
#define SOONEST_TICKS 8     /* A compare value this far ahead can't have passed by the time it is written. */

static volatile uint32_t wraps_us; /* What the timer's past rounds amount to. */
static volatile uint8_t clock_is_alive;

static uint32_t board_now_us(void) {
    uint8_t lock = board_lock();
    uint16_t ticks = TCNT1;
    uint32_t base_us = wraps_us;
    if ((TIFR1 & _BV(TOV1)) && ticks < 0x8000) {
        base_us += WRAP_US; /* It has come round, but its interrupt has to wait for us. */
    }
    board_unlock(lock);
    return base_us + ticks / BOARD_TICKS_PER_US;
}

/* Both clocks count from the same zero. */
static inline __attribute__((always_inline)) uint16_t board_ticks(void) {
    return TCNT1;
}

static inline __attribute__((always_inline)) void board_wait_until(uint16_t ticks) {
    while ((int16_t)(TCNT1 - ticks) < 0) {
    }
}

static void wake_at_compare(uint16_t compare) {
    uint16_t soonest = TCNT1 + SOONEST_TICKS;
    if ((int16_t)(compare - soonest) < 0) {
        compare = soonest; /* The time has come already, while it was worked out. */
    }
    OCR1A = compare != 0 ? compare : 1; /* Half a microsecond late; a simulator may take 0 for "never". */
    TIMSK1 = _BV(TOIE1) | _BV(OCIE1A); /* A match from before costs one look too many; its flag is left alone. */
}

static inline __attribute__((always_inline)) void board_wake_at(uint16_t ticks) {
    wake_at_compare(ticks - LEAD_TICKS);
}

static inline __attribute__((always_inline)) void board_wake_now(void) {
    wake_at_compare(TCNT1);
}

ISR(TIMER1_COMPA_vect) {
    outputs_service();
}

ISR(TIMER1_OVF_vect) {
    wraps_us += WRAP_US;
    clock_is_alive = 1;
    board_wake_now(); /* Not needed; but edges are not to depend on one register that nothing sets again. */
}

/* --- serial port: USART 0 with a ring of bytes each way --- */

#define RING_IN 128 /* Bytes; a power of two. */
#define RING_OUT 256

static uint8_t ring_in[RING_IN];
static volatile uint8_t in_head, in_tail;
static uint8_t ring_out[RING_OUT];
static volatile uint8_t out_head, out_tail; /* They wrap by themselves. */

#if defined(USART_RX_vect)
ISR(USART_RX_vect)
#else
ISR(USART0_RX_vect)
#endif
{
    uint8_t damaged = UCSR0A & (_BV(FE0) | _BV(DOR0));
    uint8_t byte = UDR0;
    uint8_t next = (in_head + 1) % RING_IN;
    if (!damaged && next != in_tail) { /* A byte that is missing makes its frame invalid, no more. */
        ring_in[in_head] = byte;
        in_head = next;
    }
}

#if defined(USART_UDRE_vect)
ISR(USART_UDRE_vect)
#else
ISR(USART0_UDRE_vect)
#endif
{
    UDR0 = ring_out[out_tail++];
    if (out_tail == out_head) {
        UCSR0B &= ~_BV(UDRIE0);
    }
}

static int16_t board_receive(void) {
    uint8_t byte;
    if (in_head == in_tail) {
        return -1;
    }
    byte = ring_in[in_tail];
    in_tail = (in_tail + 1) % RING_IN;
    return byte;
}

static uint8_t board_is_silent(void) {
    return in_head == in_tail;
}

static uint8_t board_room(void) {
    return (uint8_t)(out_tail - out_head - 1);
}

static void board_send(uint8_t byte) {
    uint8_t lock = board_lock();
    ring_out[out_head++] = byte;
    UCSR0B |= _BV(UDRIE0);
    board_unlock(lock);
}

/* --- beginning, watchdog, rest --- */

static void board_begin(void) {
    cli();
#if defined(__AVR_ATmega328P__)
    TIMSK0 = 0; /* An Arduino core's millis() would hold up our edges; nothing here asks for it. */
    TCCR0A = _BV(WGM01) | _BV(WGM00); /* Fast PWM, 8 bits; not running, pins not connected. */
    TCCR0B = 0;
    TCCR2A = _BV(WGM21) | _BV(WGM20);
    TCCR2B = 0;
#else
    TIMSK0 = 0;
    TCCR3A = _BV(WGM30);
    TCCR3B = _BV(WGM32);
    TCCR4A = _BV(WGM40);
    TCCR4B = _BV(WGM42);
    OCR3AH = OCR3BH = OCR3CH = OCR4AH = 0;
#endif
    TCCR1A = 0;
    TCCR1B = _BV(CS11); /* Clock / 8. */
    TCNT1 = 0;
    TIFR1 = _BV(TOV1);
    TIMSK1 = _BV(TOIE1);
    UCSR0A = _BV(U2X0); /* Before the divisor, which a simulator reads together with it. */
    UBRR0 = (F_CPU / 4 / BAUD_RATE - 1) / 2; /* Rounded to the nearest. */
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
    wdt_enable(WDTO_120MS);
    sei();
}

/* The watchdog is calmed only while the timer's interrupt runs too: a loop without it would hold pins up for ever. */
static void board_loop_is_alive(void) {
#ifdef TEST_LOOP_TIME /* Only in a build for the tests, which watch this register. */
    GPIOR0 = 1;
#endif
    if (clock_is_alive) {
        clock_is_alive = 0;
        wdt_reset();
    }
}

static void board_rest(void) {
    set_sleep_mode(SLEEP_MODE_IDLE);
    cli();
    if (device_is_idle()) {
#ifdef TEST_LOOP_TIME
        GPIOR0 = 0;
#endif
        sleep_enable();
        sei(); /* Takes effect after the next instruction: no interrupt can slip in between and leave us asleep. */
        sleep_cpu();
        sleep_disable();
    }
    sei();
}

#endif
