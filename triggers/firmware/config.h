/* What a lab may change: the board's name, the caps that no command can raise, the baud rate. */
#ifndef CONFIG_H
#define CONFIG_H

#define FIRMWARE_MAJOR 1
#define FIRMWARE_MINOR 2

#ifndef DEVICE_NAME
#define DEVICE_NAME "poseloop" /* Up to 16 ASCII characters; give each board of a lab its own. */
#endif
#ifndef BAUD_RATE
#define BAUD_RATE 115200UL /* 500000 and 1000000 are exact on a 16 MHz AVR, and a command is there sooner. */
#endif

/* Caps. The host's Limits only lowers the first, second and fourth, until its next Hello. */
#ifndef CAP_MAX_ON_US
#define CAP_MAX_ON_US 10000000UL /* Longest unbroken on-time. */
#endif
#ifndef CAP_MAX_DUTY_PERMILLE
#define CAP_MAX_DUTY_PERMILLE 500 /* Largest share of time on, over ... */
#endif
#ifndef CAP_DUTY_WINDOW_MS
#define CAP_DUTY_WINDOW_MS 10000U /* ... this window. */
#endif
#ifndef CAP_DEAD_MAN_MS
#define CAP_DEAD_MAN_MS 250U /* Everything off this long after the last valid frame. */
#endif
#ifndef CAP_MIN_OFF_US
#define CAP_MIN_OFF_US 50UL /* Least off-time of a channel, inside a train and between two commands. */
#endif

/* What the timer interrupt keeps up with on every channel at once; finer trains are refused. */
#define MIN_ON_US 50UL
#define MIN_PERIOD_US 500UL

#define N_CHANNELS 4

#if CAP_MAX_DUTY_PERMILLE > 1000 || CAP_DUTY_WINDOW_MS > 65535 || CAP_DEAD_MAN_MS > 65535
#error "config.h: a cap is larger than its field in the protocol"
#endif
#if CAP_MIN_OFF_US > 1000000
#error "config.h: CAP_MIN_OFF_US is more than a second, which is the longest that the loop can tell"
#endif

#endif
