/* Runs the compiled firmware on simavr: bytes in, bytes and pin edges out, each with its simulated time.

   harness ELF MCU BAUD          a script on standard input, a report on standard output, as fast as it can:
       bytes US HEX              bytes to the device, the first no sooner than US, at the line's rate
       until US                  simulate to that time; answers "now US"
       peek ADDRESS              one byte of the data space (hexadecimal); answers "peek VALUE"
   harness ELF MCU BAUD --pty    the device's port is a pseudo-terminal, time is real; ends when standard input does

   Reports: "tx US BYTE", "pin US CHANNEL LEVEL" (with --pty also the host's monotonic clock, ns), "loop US" (the longest
   pass so far, where the build marks its passes) before each "now". US counts from power-on, in the device's cycles. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_extint.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_cycle_timers.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>

#define MHZ 16
#define N_CHANNELS 4
#define N_EXTERNAL_INTERRUPTS 8
#define QUEUE (1 << 20)
#define GPIOR0_ADDRESS 0x3E

struct pin {
    char port;
    int bit;
};

static const struct pin UNO[N_CHANNELS] = {{'D', 3}, {'D', 5}, {'D', 6}, {'B', 3}};
static const struct pin MEGA[N_CHANNELS] = {{'E', 4}, {'E', 5}, {'E', 3}, {'H', 3}};

static avr_t *avr;
static avr_irq_t *uart_in;
static int master = -1;
static int levels[N_CHANNELS];
static avr_cycle_count_t byte_cycles;
static avr_cycle_count_t pass_began, longest_pass;

static struct {
    avr_cycle_count_t at;
    uint8_t byte;
} queue[QUEUE];
static unsigned head, tail;
static avr_cycle_count_t line_free;

static double to_us(avr_cycle_count_t cycles) {
    return (double)cycles / MHZ;
}

static long long host_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void quiet(avr_t *a, const int level, const char *format, va_list arguments) {
    (void)a, (void)level, (void)format, (void)arguments;
}

static void no_sleep(avr_t *a, avr_cycle_count_t cycles) {
    (void)a, (void)cycles; /* The simulated time passes all the same. */
}

static void on_pin(avr_irq_t *irq, uint32_t value, void *parameter) {
    int channel = (int)(long)parameter;
    (void)irq;
    value = value != 0;
    if (levels[channel] == (int)value) {
        return;
    }
    levels[channel] = value;
    printf("pin %.3f %d %u", to_us(avr->cycle), channel, value);
    if (master >= 0) {
        printf(" %lld", host_ns());
    }
    printf("\n");
}

static void on_transmit(avr_irq_t *irq, uint32_t value, void *parameter) {
    uint8_t byte = value;
    (void)irq, (void)parameter;
    if (master >= 0) {
        if (write(master, &byte, 1) < 0) { /* As on a wire: what nobody reads is lost. */
        }
        return;
    }
    printf("tx %.3f %u\n", to_us(avr->cycle), byte);
}

static void on_mark(avr_t *a, avr_io_addr_t address, uint8_t value, void *parameter) {
    (void)parameter;
    a->data[address] = value;
    if (pass_began != 0 && a->cycle - pass_began > longest_pass) {
        longest_pass = a->cycle - pass_began;
    }
    pass_began = value ? a->cycle : 0;
}

static avr_cycle_count_t on_byte(avr_t *a, avr_cycle_count_t when, void *parameter) {
    (void)a, (void)parameter;
    avr_raise_irq(uart_in, queue[tail++ % QUEUE].byte);
    return tail == head ? 0 : queue[tail % QUEUE].at > when ? queue[tail % QUEUE].at : when + 1;
}

static void send(avr_cycle_count_t at, uint8_t byte) {
    if (line_free < at) {
        line_free = at;
    }
    if (line_free <= avr->cycle) {
        line_free = avr->cycle + 1;
    }
    queue[head % QUEUE].at = line_free;
    queue[head % QUEUE].byte = byte;
    if (head++ == tail) {
        avr_cycle_timer_register(avr, line_free - avr->cycle, on_byte, NULL);
    }
    line_free += byte_cycles;
}

static avr_cycle_count_t on_nothing(avr_t *a, avr_cycle_count_t when, void *parameter) {
    (void)a, (void)when, (void)parameter;
    return 0;
}

static void run_until(avr_cycle_count_t cycle) {
    if (cycle > avr->cycle) { /* So that sleep does not pass it by. */
        avr_cycle_timer_register(avr, cycle - avr->cycle, on_nothing, NULL);
    }
    while (avr->cycle < cycle) {
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            printf("crash %.3f %d\n", to_us(avr->cycle), state);
            fflush(stdout);
            exit(3);
        }
    }
}

static void serve_script(void) {
    static char line[1 << 16];
    double us;
    unsigned address;
    int used;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "bytes %lf %n", &us, &used) == 1) {
            unsigned byte;
            const char *at = line + used;
            for (; sscanf(at, "%2x", &byte) == 1; at += 2) {
                send((avr_cycle_count_t)(us * MHZ), byte);
            }
        } else if (sscanf(line, "until %lf", &us) == 1) {
            run_until((avr_cycle_count_t)(us * MHZ));
            printf("loop %.3f\nnow %.3f\n", to_us(longest_pass), to_us(avr->cycle));
            fflush(stdout);
        } else if (sscanf(line, "peek %x", &address) == 1) {
            printf("peek %u\n", avr->data[address]);
            fflush(stdout);
        }
    }
}

static void serve_port(void) {
    int slave;
    char name[64];
    struct termios raw;
    memset(&raw, 0, sizeof raw);
    cfmakeraw(&raw);
    if (openpty(&master, &slave, name, &raw, NULL) != 0) { /* Holding the other end too keeps the port alive. */
        exit(4);
    }
    fcntl(master, F_SETFL, O_NONBLOCK);
    printf("port %s\n", name);
    long long began_ns = host_ns();
    avr_cycle_count_t began = avr->cycle;
    for (;;) {
        uint8_t bytes[256];
        struct pollfd ends = {.fd = 0, .events = POLLIN};
        run_until(avr->cycle + 100 * MHZ);
        fflush(stdout);
        ssize_t n = read(master, bytes, sizeof bytes);
        for (ssize_t i = 0; i < n; i++) {
            send(0, bytes[i]);
        }
        if (poll(&ends, 1, 0) > 0 && read(0, bytes, sizeof bytes) == 0) {
            return;
        }
        long long ahead_ns = (long long)(avr->cycle - began) * 1000 / MHZ - (host_ns() - began_ns);
        if (ahead_ns > 0) {
            usleep(ahead_ns / 1000);
        } else if (ahead_ns < -20000000) { /* The computer was busy: the simulated time does not run to catch up. */
            began_ns = host_ns();
            began = avr->cycle;
        }
    }
}

int main(int n_arguments, char **arguments) {
    elf_firmware_t firmware;
    uint32_t flags = 0;
    if (n_arguments < 4) {
        return 2;
    }
    const struct pin *pins = strcmp(arguments[2], "atmega2560") == 0 ? MEGA : UNO;
    memset(&firmware, 0, sizeof firmware);
    avr_global_logger_set(quiet);
    avr = avr_make_mcu_by_name(arguments[2]);
    if (avr == NULL || elf_read_firmware(arguments[1], &firmware) != 0) {
        return 2;
    }
    avr_init(avr);
    firmware.frequency = MHZ * 1000000;
    avr_load_firmware(avr, &firmware);
    avr->frequency = MHZ * 1000000;
    avr->sleep = no_sleep;
    for (int i = 0; i < N_EXTERNAL_INTERRUPTS; i++) { /* Else a low pin that could interrupt is polled every cycle. */
        avr_extint_set_strict_lvl_trig(avr, i, 0);
    }
    byte_cycles = 10LL * MHZ * 1000000 / atol(arguments[3]);
    avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
    flags &= ~(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    uart_in = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_transmit, NULL);
    for (long i = 0; i < N_CHANNELS; i++) {
        avr_irq_t *irq = avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ(pins[i].port), pins[i].bit);
        avr_irq_register_notify(irq, on_pin, (void *)i);
    }
    avr_register_io_write(avr, GPIOR0_ADDRESS, on_mark, NULL);
    if (n_arguments > 4) {
        serve_port();
    } else {
        serve_script();
    }
    return 0;
}
