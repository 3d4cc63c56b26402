/* Frames: COBS and CRC-16 in both directions, a byte at a time in, a whole frame at a time out. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdint.h>

#include "board.h"
#include "protocol.h"

#define CRC_BYTES 2

/* The block under way. Decoding goes along with reception, so that little is left to do when the delimiter comes. */
struct receiver {
    uint8_t n_block;  /* Bytes since the last delimiter; one above WIRE_MAX_BLOCK_BYTES stands for any more. */
    uint8_t left;     /* Bytes until the next COBS code. */
    uint8_t n;        /* Bytes decoded. */
    uint16_t crc;     /* Of all decoded bytes but the last two, which are the frame's own CRC if it ends here. */
    uint8_t bytes[WIRE_MAX_BLOCK_BYTES];
};

static uint16_t crc_update(uint16_t crc, uint8_t byte) {
    /* x^16 + x^12 + x^5 + 1, eight bits in one step. */
    uint8_t x = (uint8_t)(crc >> 8) ^ byte;
    x ^= x >> 4;
    return (uint16_t)(crc << 8) ^ ((uint16_t)x << 12) ^ ((uint16_t)x << 5) ^ x;
}

static uint16_t read_u16(const uint8_t *at) {
    return (uint16_t)at[0] | (uint16_t)((uint16_t)at[1] << 8);
}

static uint32_t read_u32(const uint8_t *at) {
    return (uint32_t)read_u16(at) | ((uint32_t)read_u16(at + 2) << 16);
}

static void receiver_restart(struct receiver *r) {
    r->n_block = 0;
    r->left = 0;
    r->n = 0;
    r->crc = WIRE_CRC_START;
}

static void receiver_append(struct receiver *r, uint8_t byte) {
    if (r->n >= CRC_BYTES) {
        r->crc = crc_update(r->crc, r->bytes[r->n - CRC_BYTES]);
    }
    r->bytes[r->n++] = byte; /* One COBS code stands before all of them, so at most WIRE_MAX_BLOCK_BYTES - 1 come. */
}

/* Takes one byte of the stream. Returns the number of bytes of the body (version, type, id, payload, or that of a Fire) in
   `bytes` if it completes an intact frame, else 0. After a non-zero answer the caller restarts the receiver when done. */
static uint8_t receiver_take(struct receiver *r, uint8_t byte) {
    if (byte != 0) {
        if (r->n_block >= WIRE_MAX_BLOCK_BYTES) {
            r->n_block = WIRE_MAX_BLOCK_BYTES + 1;
            return 0;
        }
        if (r->left != 0) {
            r->left--;
            receiver_append(r, byte);
        } else {
            if (r->n_block != 0) {
                receiver_append(r, 0);
            }
            r->left = byte - 1;
        }
        r->n_block++;
        return 0;
    }
    if (r->n_block <= WIRE_MAX_BLOCK_BYTES && r->left == 0 && r->n >= WIRE_FIRE_BODY_BYTES + CRC_BYTES &&
        r->crc == read_u16(r->bytes + r->n - CRC_BYTES)) {
        return r->n - CRC_BYTES;
    }
    receiver_restart(r);
    return 0;
}

/* A frame being written. */
struct sender {
    uint8_t n;
    uint8_t bytes[WIRE_MAX_BLOCK_BYTES];
};

static void put_u8(struct sender *s, uint8_t value) {
    s->bytes[s->n++] = value;
}

static void put_u16(struct sender *s, uint16_t value) {
    put_u8(s, (uint8_t)value);
    put_u8(s, (uint8_t)(value >> 8));
}

static void put_u32(struct sender *s, uint32_t value) {
    put_u16(s, (uint16_t)value);
    put_u16(s, (uint16_t)(value >> 16));
}

static void sender_begin(struct sender *s, uint8_t type, uint32_t id) {
    s->n = 0;
    put_u8(s, WIRE_PROTOCOL_VERSION);
    put_u8(s, type);
    put_u32(s, id);
}

/* Sends the frame, or drops it whole where the buffer has no room: the host reports a missing answer, and a device that
   waited for room would not hear the next command, which may be the one that switches off. */
static void sender_finish(struct sender *s) {
    uint16_t crc = WIRE_CRC_START;
    uint8_t i, j;
    for (i = 0; i < s->n; i++) {
        crc = crc_update(crc, s->bytes[i]);
    }
    put_u16(s, crc);
    if (board_room() < s->n + 3) { /* One COBS code more, and two delimiters. */
        return;
    }
    board_send(0);
    for (i = 0; i <= s->n; i = j + 1) {
        for (j = i; j < s->n && s->bytes[j] != 0; j++) {
        }
        board_send((uint8_t)(j - i + 1));
        for (; i < j; i++) {
            board_send(s->bytes[i]);
        }
    }
    board_send(0);
}

#endif
