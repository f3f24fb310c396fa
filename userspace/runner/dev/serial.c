// SPDX-License-Identifier: GPL-2.0
/*
 * A PC16550D serial port, COM1, whose other end is a console (console.c).  Data
 * sheet, "Registers" and "FIFO Interrupt Mode Operation".  Characters take no time;
 * the line's speed says only when the receiver stops waiting for more of them.
 *
 * A character that the console cannot take yet stays in the FIFO, so that the guest
 * waits and nothing is lost.  Input waits until the guest is ready for it (DTR), as
 * at a terminal, and until there is room: only a loop overruns the receiver.
 */
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "runner.h"
#include "ticks.h"
#include "vm.h"

#define FIFO 16

enum { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCRATCH, NR_REGISTERS };

#define IER_RX 0x01
#define IER_TX 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IIR_MODEM 0x00
#define IIR_NONE 0x01
#define IIR_TX 0x02
#define IIR_RX 0x04
#define IIR_LINE 0x06
#define IIR_RX_TIMEOUT 0x0c
#define IIR_FIFOS 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_TRIGGER 0xc0
#define LCR_LENGTH 0x03
#define LCR_STOP 0x04
#define LCR_PARITY 0x08
#define LCR_BREAK 0x40
#define LCR_DLAB 0x80
#define MCR_DTR 0x01
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define LSR_RX 0x01
#define LSR_OVERRUN 0x02
#define LSR_FRAMING 0x08
#define LSR_BREAK 0x10
#define LSR_TX_FREE 0x20
#define LSR_TX_IDLE 0x40
#define LSR_FIFO_ERROR 0x80
#define MSR_DELTA 0x0b		/* of CTS, DSR and DCD, which are 4 bits up */
#define MSR_RI_ENDED 0x04
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

/* The clock of the divisor, and how many characters long the receiver waits for more. */
#define HZ 115200
#define TIMEOUT_CHARACTERS 4

/* What the guest sees. */
struct uart {
	__u8 ier, fcr, lcr, mcr, scratch;
	__u8 overrun;		/* LSR_OVERRUN */
	__u8 msr;		/* the changes since it was read, and the state */
	__u8 tx_pending;	/* the transmitter has become free since IIR was read */
	__u8 rx_timeout;	/* what has been received has waited long enough */
	__u16 divisor;
	__u8 nr_rx, nr_tx;
	__u8 rx[FIFO], tx[FIFO];
	__u8 errors[FIFO];	/* of the characters received: LSR_BREAK, LSR_FRAMING */
};

struct serial {
	struct device device;
	struct console *console;
	struct timer timer;
	struct uart uart;
};

static struct serial *serial_of(struct device *device)
{
	return container_of(device, struct serial, device);
}

static unsigned int rx_level(const struct uart *uart)
{
	static const __u8 levels[] = { 1, 4, 8, 14 };

	return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* The interrupt of the highest priority. */
static __u8 interrupt(const struct uart *uart)
{
	if (uart->ier & IER_LINE && (uart->overrun || (uart->nr_rx && uart->errors[0])))
		return IIR_LINE;
	if (uart->ier & IER_RX && uart->nr_rx >= rx_level(uart))
		return IIR_RX;
	if (uart->ier & IER_RX && uart->rx_timeout)
		return IIR_RX_TIMEOUT;
	if (uart->ier & IER_TX && uart->tx_pending)
		return IIR_TX;
	if (uart->ier & IER_MODEM && uart->msr & (MSR_DELTA | MSR_RI_ENDED))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update(struct serial *serial)
{
	bool level = interrupt(&serial->uart) != IIR_NONE && serial->uart.mcr & MCR_OUT2;

	line_set(serial->device.vm, LINE_SERIAL, level);
}

static unsigned int rx_size(const struct uart *uart)
{
	return uart->fcr & FCR_ENABLE ? FIFO : 1;
}

static unsigned int room(const struct uart *uart)
{
	unsigned int size = rx_size(uart);

	if ((uart->mcr & (MCR_LOOP | MCR_DTR)) != MCR_DTR)
		return 0;
	return uart->nr_rx < size ? size - uart->nr_rx : 0;
}

/* ---- the receiver -------------------------------------------------------------- */

/* Nanoseconds that a character takes: start, data, parity and stop bits. */
static __u64 character_ns(const struct uart *uart)
{
	unsigned int bits = 1 + 5 + (uart->lcr & LCR_LENGTH) + !!(uart->lcr & LCR_PARITY) + 1 +
			    !!(uart->lcr & LCR_STOP);

	return scale(bits * (uart->divisor ? uart->divisor : 1), NS_PER_S, HZ);
}

/* Characters below the trigger level interrupt when nothing has happened to them for a while. */
static void wait_for_more(struct serial *serial)
{
	struct uart *uart = &serial->uart;
	bool waits = uart->nr_rx && uart->fcr & FCR_ENABLE;

	uart->rx_timeout = 0;
	timer_set(&serial->timer,
		  waits ? clock_ns() + TIMEOUT_CHARACTERS * character_ns(uart) : 0, 0);
}

static void fire(struct vm *vm, struct timer *timer)
{
	struct serial *serial = container_of(timer, struct serial, timer);

	(void)vm;
	serial->uart.rx_timeout = serial->uart.nr_rx && serial->uart.fcr & FCR_ENABLE;
	update(serial);
}

/* A full FIFO keeps what it has; without it, the new character takes the old one's place. */
static void receive(struct serial *serial, __u8 data, __u8 errors)
{
	struct uart *uart = &serial->uart;
	unsigned int at = uart->nr_rx;

	if (at >= rx_size(uart)) {
		uart->overrun = LSR_OVERRUN;
		if (at == FIFO)
			return;
		at = 0;
	}
	uart->rx[at] = data;
	uart->errors[at] = errors;
	uart->nr_rx = at + 1;
	wait_for_more(serial);
}

static void drop_received(struct serial *serial)
{
	serial->uart.nr_rx = 0;
	wait_for_more(serial);
}

/* ---- the console's side ------------------------------------------------------- */

static size_t console_room(void *device)
{
	struct serial *serial = device;

	return room(&serial->uart);
}

static void console_input(void *device, const void *data, size_t nr)
{
	struct serial *serial = device;

	for (size_t i = 0; i < nr; i++)
		receive(serial, ((const __u8 *)data)[i], 0);
	update(serial);
}

/* Send what the console takes. */
static void transmit(struct serial *serial)
{
	struct uart *uart = &serial->uart;
	size_t nr = console_write(serial->console, uart->tx, uart->nr_tx);

	memmove(uart->tx, uart->tx + nr, uart->nr_tx - nr);
	uart->nr_tx -= nr;
	if (nr && !uart->nr_tx)
		uart->tx_pending = 1;
}

static void console_writable(void *device)
{
	struct serial *serial = device;

	transmit(serial);
	update(serial);
}

/* ---- the guest's side ----------------------------------------------------------- */

static __u8 read_data(struct serial *serial)
{
	struct uart *uart = &serial->uart;
	__u8 data = uart->rx[0];

	if (!uart->nr_rx)
		return 0;
	memmove(uart->rx, uart->rx + 1, --uart->nr_rx);
	memmove(uart->errors, uart->errors + 1, uart->nr_rx);
	wait_for_more(serial);
	if (!uart->nr_rx)
		console_wants_more(serial->console);
	return data;
}

static __u8 read_iir(struct uart *uart)
{
	__u8 reason = interrupt(uart);

	if (reason == IIR_TX)
		uart->tx_pending = 0;
	return reason | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

/* The errors of the character that is read next go with the overrun. */
static __u8 read_lsr(struct uart *uart)
{
	__u8 lsr = uart->overrun | (uart->nr_tx ? 0 : LSR_TX_FREE | LSR_TX_IDLE);

	uart->overrun = 0;
	if (!uart->nr_rx)
		return lsr;
	lsr |= LSR_RX | uart->errors[0];
	for (unsigned int i = 0; i < uart->nr_rx && uart->fcr & FCR_ENABLE; i++)
		lsr |= uart->errors[i] ? LSR_FIFO_ERROR : 0;
	uart->errors[0] = 0;
	return lsr;
}

/* In loopback the modem's inputs are its outputs: RTS, DTR, OUT1, OUT2. */
static __u8 modem_inputs(const struct uart *uart)
{
	__u8 mcr = uart->mcr;

	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 0x0c) << 4;
}

/* Of the ring indicator only the end counts. */
static void watch_modem(struct uart *uart)
{
	__u8 inputs = modem_inputs(uart), changed = inputs ^ uart->msr;

	uart->msr = inputs | (uart->msr & (MSR_DELTA | MSR_RI_ENDED)) | (changed >> 4 & MSR_DELTA) |
		    (changed & ~inputs & MSR_RI ? MSR_RI_ENDED : 0);
}

static __u8 read_msr(struct uart *uart)
{
	__u8 msr = uart->msr;

	uart->msr &= ~(MSR_DELTA | MSR_RI_ENDED);
	return msr;
}

static __u64 serial_read(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size)
{
	struct serial *serial = serial_of(device);
	struct uart *uart = &serial->uart;
	__u8 data = 0xff;

	(void)region;
	(void)size;
	switch (offset) {
	case DATA:
		data = uart->lcr & LCR_DLAB ? uart->divisor & 0xff : read_data(serial);
		break;
	case IER:
		data = uart->lcr & LCR_DLAB ? uart->divisor >> 8 : uart->ier;
		break;
	case IIR_FCR:
		data = read_iir(uart);
		break;
	case LCR:
		data = uart->lcr;
		break;
	case MCR:
		data = uart->mcr;
		break;
	case LSR:
		data = read_lsr(uart);
		break;
	case MSR:
		data = read_msr(uart);
		break;
	case SCRATCH:
		data = uart->scratch;
		break;
	}
	update(serial);
	return data;
}

/* While there is a break, the line carries nothing else. */
static void loop_back(struct serial *serial, __u8 data)
{
	struct uart *uart = &serial->uart;

	if (!(uart->lcr & LCR_BREAK))
		receive(serial, data & 0xff >> (3 - (uart->lcr & LCR_LENGTH)), 0);
	uart->tx_pending = 1;
}

static void write_data(struct serial *serial, __u8 data)
{
	struct uart *uart = &serial->uart;

	uart->tx_pending = 0;
	if (uart->mcr & MCR_LOOP) {
		loop_back(serial, data);
		return;
	}
	/* A guest that did not wait: the last one gives way. */
	uart->nr_tx -= uart->nr_tx == FIFO;
	uart->tx[uart->nr_tx++] = data;
	transmit(serial);
}

/* To ask for the transmitter's interrupt while it is free is to get it. */
static void write_ier(struct uart *uart, __u8 data)
{
	if (data & ~uart->ier & IER_TX && !uart->nr_tx)
		uart->tx_pending = 1;
	uart->ier = data & 0x0f;
}

/* Other bits count only with the first one, and its change clears both FIFOs. */
static void write_fcr(struct serial *serial, __u8 data)
{
	struct uart *uart = &serial->uart;
	__u8 clear = FCR_CLEAR_RX | FCR_CLEAR_TX;

	if (!((data ^ uart->fcr) & FCR_ENABLE))
		clear &= data & FCR_ENABLE ? data : 0;
	uart->fcr = data & FCR_ENABLE ? data & (FCR_ENABLE | FCR_TRIGGER) : 0;
	if (clear & FCR_CLEAR_RX)
		drop_received(serial);
	if (clear & FCR_CLEAR_TX && uart->nr_tx) {
		uart->nr_tx = 0;
		uart->tx_pending = 1;
	}
	console_wants_more(serial->console);
}

/* The receiver of a loop gets a break when it begins: a zero without a stop bit. */
static void set_line(struct serial *serial, __u8 lcr, __u8 mcr)
{
	struct uart *uart = &serial->uart;
	bool was_broken = uart->lcr & LCR_BREAK && uart->mcr & MCR_LOOP;

	uart->lcr = lcr;
	uart->mcr = mcr;
	if (!was_broken && lcr & LCR_BREAK && mcr & MCR_LOOP)
		receive(serial, 0, LSR_BREAK | LSR_FRAMING);
	watch_modem(uart);
}

static void serial_write(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size, __u64 data)
{
	struct serial *serial = serial_of(device);
	struct uart *uart = &serial->uart;

	(void)region;
	(void)size;
	switch (offset) {
	case DATA:
		if (uart->lcr & LCR_DLAB)
			uart->divisor = (uart->divisor & 0xff00) | data;
		else
			write_data(serial, data);
		break;
	case IER:
		if (uart->lcr & LCR_DLAB)
			uart->divisor = (uart->divisor & 0xff) | data << 8;
		else
			write_ier(uart, data);
		break;
	case IIR_FCR:
		write_fcr(serial, data);
		break;
	case LCR:
		set_line(serial, data, uart->mcr);
		break;
	case MCR:
		set_line(serial, uart->lcr, data & 0x1f);
		console_wants_more(serial->console);
		break;
	case SCRATCH:
		uart->scratch = data;
		break;
	}
	update(serial);
}

/* What the console had not taken is sent now; and it has not been asked for input yet. */
static void serial_resume(struct device *device)
{
	struct serial *serial = serial_of(device);

	if (serial->uart.nr_tx)
		console_writable(serial);
	console_wants_more(serial->console);
}

static void serial_state(struct device *device, struct state *state)
{
	struct serial *serial = serial_of(device);
	struct uart *uart = &serial->uart;

	STATE(state, uart, ier);
	STATE(state, uart, fcr);
	STATE(state, uart, lcr);
	STATE(state, uart, mcr);
	STATE(state, uart, scratch);
	STATE(state, uart, overrun);
	STATE(state, uart, msr);
	STATE(state, uart, tx_pending);
	STATE(state, uart, rx_timeout);
	STATE(state, uart, divisor);
	STATE(state, uart, nr_rx);
	STATE(state, uart, nr_tx);
	STATE(state, uart, rx);
	STATE(state, uart, tx);
	STATE(state, uart, errors);
	timer_state(&serial->timer, "timer", state);
	state_require(state, uart->nr_rx <= FIFO && uart->nr_tx <= FIFO, "a FIFO has more than it can hold");
	state_require(state, uart->ier <= 0x0f && uart->mcr <= 0x1f &&
		      !(uart->fcr & ~(FCR_ENABLE | FCR_TRIGGER)) && !(uart->overrun & ~LSR_OVERRUN),
		      "there is no such register");
}

static void serial_destroy(struct device *device)
{
	struct serial *serial = serial_of(device);

	console_close(serial->console);
	timer_destroy(&serial->timer);
	free(serial);
}

static const struct device_ops ops = {
	.name = "serial", .read = serial_read, .write = serial_write, .resume = serial_resume,
	.state = serial_state, .destroy = serial_destroy,
};

static const struct console_ops console_ops = {
	.room = console_room, .input = console_input, .writable = console_writable,
};

int serial_create(struct vm *vm)
{
	struct serial *serial = calloc(1, sizeof(*serial));

	if (!serial || timer_create_fd(&vm->io, &serial->timer, fire)) {
		complain("cannot make the serial port: %m");
		free(serial);
		return -1;
	}
	/* As firmware leaves it: 9600 bauds, 8 bits. */
	serial->uart.divisor = 12;
	serial->uart.lcr = LCR_LENGTH;
	serial->uart.msr = modem_inputs(&serial->uart);
	serial->console = console_open(vm, &console_ops, serial, "serial", vm->options->serial);
	if (!serial->console) {
		timer_destroy(&serial->timer);
		free(serial);
		return -1;
	}
	device_add(vm, &serial->device, &ops);
	return device_ports(&serial->device, SERIAL_PORT, NR_REGISTERS, 1, 0);
}
