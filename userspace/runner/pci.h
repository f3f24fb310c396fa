/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PCI bus: one bus, without bridges to others, interrupts by MSI-X alone.
 * PCI Local Bus Specification 3.0.
 */
#ifndef PCI_H
#define PCI_H

#include "vm.h"

/* What BARs are given at first; dsdt.asl has windows for what the guest may give them. */
#define PCI_IO_FIRST 0xc000
#define PCI_IO_END 0x10000
#define PCI_MEMORY_FIRST LOW_MEMORY_END
#define PCI_MEMORY_END IOAPIC_BASE

#define PCI_DEVFN(slot, function) ((slot) << 3 | (function))
#define PCI_FUNCTIONS PCI_DEVFN(32, 0)
#define PCI_CONFIG 256
#define PCI_BARS 6

struct pci_device;

/**
 * struct pci_bar - a base address register
 * @space: ports or addresses
 * @size: a power of two; 0: there is none
 * @mapped: the guest reaches it, at
 * @address: here
 */
struct pci_bar {
	enum bus_space space;
	__u64 size;
	bool mapped;
	__u64 address;
};

/* An entry of the MSI-X table. */
struct msix_entry {
	__u64 address;
	__u32 data;
	__u32 control;
};

#define MSIX_MOST 32

/**
 * struct pci_device - a function
 * @device: what all devices begin with; a region's id is the BAR's number
 * @lock: the device's
 * @moved: a BAR has been mapped elsewhere or not at all; may be NULL
 * @msix_changed: messages, or whether they are held back, may have changed; may be NULL
 * @window: called before @config is read at @window_at, or after it was written there;
 *	may be NULL
 * @window_at: offset of 4 bytes
 * @config: configuration space
 * @writable: which of its bits the guest can change
 * @bars: base address registers
 * @last_cap: offset of the last capability; 0: there is none yet
 * @cap_end: where the next one goes
 * @isr: what it would interrupt for by a pin, while MSI-X is off; NULL: nothing
 * @msix_cap: offset of the MSI-X capability
 * @nr_vectors: size of the MSI-X table
 * @msix: the table
 * @msix_pending: interrupts that are held back
 */
struct pci_device {
	struct device device;
	pthread_mutex_t lock;
	void (*moved)(struct pci_device *pci, unsigned int bar);
	void (*msix_changed)(struct pci_device *pci);
	void (*window)(struct pci_device *pci, bool is_write);
	unsigned int window_at;
	__u8 config[PCI_CONFIG];
	__u8 writable[PCI_CONFIG];
	struct pci_bar bars[PCI_BARS];
	unsigned int last_cap;
	unsigned int cap_end;
	const __u8 *isr;
	unsigned int msix_cap;
	unsigned int nr_vectors;
	struct msix_entry msix[MSIX_MOST];
	__u32 msix_pending;
};

/**
 * struct pci_identity - who a function is
 * @vendor: of the device
 * @device: of the vendor
 * @class: class, subclass and programming interface
 * @subsystem_vendor: of the board
 * @subsystem: its number for it
 * @revision: of the device
 */
struct pci_identity {
	__u16 vendor;
	__u16 device;
	__u32 class;
	__u16 subsystem_vendor;
	__u16 subsystem;
	__u8 revision;
};

/* The bus itself. */
int pci_create(struct vm *vm);

/* What is on it without having been asked for. */
int chipset_create(struct vm *vm);

/* Put a function where nothing else is. */
void pci_add_at(struct vm *vm, struct pci_device *pci, const struct device_ops *ops,
		const struct pci_identity *identity, unsigned int devfn);

/* Put it into the next free slot; 0, or -1 after a complaint. */
int pci_add(struct vm *vm, struct pci_device *pci, const struct device_ops *ops,
	    const struct pci_identity *identity);

/* Put @size bytes, 4 at most, into its configuration space. */
void pci_put(struct pci_device *pci, unsigned int at, unsigned int size, __u32 value);

/* Give it a BAR, at an address as firmware would choose it. */
void pci_add_bar(struct pci_device *pci, unsigned int bar, enum bus_space space, __u64 size);

/* Append a capability: @data is all of it, but its second byte. Returns its offset. */
unsigned int pci_add_capability(struct pci_device *pci, const void *data, size_t size);

/* Give it MSI-X, with table and pending bits in a BAR at these offsets. */
void pci_add_msix(struct pci_device *pci, unsigned int bar, unsigned int nr, __u32 table,
		  __u32 pending);

/* The guest accesses the table, the pending bits. */
__u64 msix_read(struct pci_device *pci, __u64 offset, unsigned int size);
void msix_write(struct pci_device *pci, __u64 offset, unsigned int size, __u64 data);

/* A vector's message; false while it is not to be sent. */
bool msix_message(const struct pci_device *pci, unsigned int vector, struct mote_msi *msi);

/* Interrupt, if the guest has switched MSI-X on. */
void msix_send(struct pci_device *pci, unsigned int vector);

/*
 * Its configuration, where its BARs are, and its messages; of a function that was made like the
 * one that was saved.
 */
void pci_state(struct pci_device *pci, struct state *state);
/* The same for a function that has nothing else. */
void pci_device_state(struct device *device, struct state *state);

#endif /* PCI_H */
