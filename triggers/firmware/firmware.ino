/* Stimulator: the device's side of the serial protocol in triggers/README.md, for an Arduino or a bare AVR. */
#pragma GCC optimize("O2") /* An IDE builds for size, which makes an edge take three times as long. */

#include "config.h"
#include "protocol.h"
#include "board.h"
#include "device.h"

void setup() {
    board_begin();
    device_begin();
}

void loop() {
    board_loop_is_alive();
    device_pass();
    board_rest();
}

#ifndef ARDUINO
int main(void) {
    setup();
    for (;;) {
        loop();
    }
}
#endif
