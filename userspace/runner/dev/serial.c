// SPDX-License-Identifier: GPL-2.0
/*
 * A 16550A serial port, COM1, whose other end is a console (console.c).  Lines
 * and speeds are as they are set, and change nothing.  A character that the
 * console cannot take yet stays in the FIFO, so that the guest waits and nothing
 * is lost.  Input waits until the guest is ready for it (DTR), as at a terminal.
 */
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "runner.h"
#include "vm.h"

#define FIFO 16

enum { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCRATCH, NR_REGISTERS };

#define IER_RX 0x01
#define IER_TX 0x02
#define IER_LINE 0x04
#define IIR_NONE 0x01
#define IIR_TX 0x02
#define IIR_RX 0x04
#define IIR_LINE 0x06
#define IIR_RX_TIMEOUT 0x0c
#define IIR_FIFOS 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define LCR_DLAB 0x80
#define MCR_DTR 0x01
#define MCR_LOOP 0x10
#define MCR_OUT2 0x08
#define LSR_RX 0x01
#define LSR_OVERRUN 0x02
#define LSR_TX_FREE 0x20
#define LSR_TX_IDLE 0x40
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_DCD 0x80

/* What the guest sees. */
struct uart {
	__u8 ier, fcr, lcr, mcr, scratch;
	__u8 line;		/* LSR_OVERRUN */
	__u8 tx_pending;	/* the transmitter has become free since IIR was read */
	__u16 divisor;
	__u8 nr_rx, nr_tx;
	__u8 rx[FIFO], tx[FIFO];
};

struct serial {
	struct device device;
	struct console *console;
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

static __u8 interrupt(const struct uart *uart)
{
	if (uart->ier & IER_LINE && uart->line)
		return IIR_LINE;
	if (uart->ier & IER_RX && uart->nr_rx)
		return uart->nr_rx >= rx_level(uart) ? IIR_RX : IIR_RX_TIMEOUT;
	if (uart->ier & IER_TX && uart->tx_pending)
		return IIR_TX;
	return IIR_NONE;
}

static void update(struct serial *serial)
{
	bool level = interrupt(&serial->uart) != IIR_NONE && serial->uart.mcr & MCR_OUT2;

	line_set(serial->device.vm, LINE_SERIAL, level);
}

static unsigned int room(const struct uart *uart)
{
	unsigned int size = uart->fcr & FCR_ENABLE ? FIFO : 1;

	if ((uart->mcr & (MCR_LOOP | MCR_DTR)) != MCR_DTR)
		return 0;
	return uart->nr_rx < size ? size - uart->nr_rx : 0;
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
	struct uart *uart = &serial->uart;

	memcpy(uart->rx + uart->nr_rx, data, nr);
	uart->nr_rx += nr;
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

static __u8 read_lsr(struct uart *uart)
{
	__u8 lsr = uart->line | (uart->nr_rx ? LSR_RX : 0);

	uart->line = 0;
	return lsr | (uart->nr_tx ? 0 : LSR_TX_FREE | LSR_TX_IDLE);
}

/* In loopback the modem's inputs are its outputs: RTS, DTR, OUT1, OUT2. */
static __u8 read_msr(const struct uart *uart)
{
	__u8 mcr = uart->mcr;

	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 0x0c) << 4;
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

static void write_data(struct serial *serial, __u8 data)
{
	struct uart *uart = &serial->uart;

	uart->tx_pending = 0;
	if (uart->mcr & MCR_LOOP) {
		if (uart->nr_rx < FIFO)
			uart->rx[uart->nr_rx++] = data;
		else
			uart->line |= LSR_OVERRUN;
		uart->tx_pending = 1;
		return;
	}
	/* A guest that did not wait: the last one gives way. */
	uart->nr_tx -= uart->nr_tx == FIFO;
	uart->tx[uart->nr_tx++] = data;
	transmit(serial);
}

static void write_fcr(struct serial *serial, __u8 data)
{
	struct uart *uart = &serial->uart;

	if (data & FCR_CLEAR_RX || (data ^ uart->fcr) & FCR_ENABLE)
		uart->nr_rx = 0;
	if (data & FCR_CLEAR_TX)
		uart->nr_tx = 0;
	uart->fcr = data & (FCR_ENABLE | 0xc0);
	console_wants_more(serial->console);
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
		if (uart->lcr & LCR_DLAB) {
			uart->divisor = (uart->divisor & 0xff) | data << 8;
			break;
		}
		/* To ask for it while the transmitter is free is to get it. */
		if (data & ~uart->ier & IER_TX && !uart->nr_tx)
			uart->tx_pending = 1;
		uart->ier = data & 0x0f;
		break;
	case IIR_FCR:
		write_fcr(serial, data);
		break;
	case LCR:
		uart->lcr = data;
		break;
	case MCR:
		uart->mcr = data & 0x1f;
		console_wants_more(serial->console);
		break;
	case SCRATCH:
		uart->scratch = data;
		break;
	}
	update(serial);
}

static void serial_destroy(struct device *device)
{
	struct serial *serial = serial_of(device);

	console_close(serial->console);
	free(serial);
}

static const struct device_ops ops = {
	.name = "serial", .read = serial_read, .write = serial_write, .destroy = serial_destroy,
};

static const struct console_ops console_ops = {
	.room = console_room, .input = console_input, .writable = console_writable,
};

int serial_create(struct vm *vm)
{
	struct serial *serial = calloc(1, sizeof(*serial));

	if (!serial) {
		complain("no memory for the serial port");
		return -1;
	}
	serial->uart.divisor = 12;
	serial->console = console_open(vm, &console_ops, serial, vm->options->serial);
	if (!serial->console) {
		free(serial);
		return -1;
	}
	device_add(vm, &serial->device, &ops);
	return device_ports(&serial->device, SERIAL_PORT, NR_REGISTERS, 1, 0);
}
