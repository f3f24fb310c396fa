// SPDX-License-Identifier: GPL-2.0
/*
 * The runner's virtio devices with a driver that keeps to the rules: what VIRTIO 1.2 says of PCI,
 * of disks, network cards and consoles, and what a disk does when the host's is full or broken, with
 * io_uring and without.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../userspace/runner/keep.h"
#include "../userspace/runner/vhost.h"
#include "virtio_driver.h"

/* ---- disks ---------------------------------------------------------------------------- */

static struct device *disk(void)
{
	struct device *found = NULL;

	for (struct device *device = vm.devices; device; device = device->next)
		if (!strcmp(device->ops->name, "virtio"))
			found = device;
	return found;
}

static void disk_copies(void)
{
	static const __u64 once[] = {
		[DISK_READS] = 1, [DISK_READ_BYTES] = 0x20000, [DISK_WRITES] = 1,
		[DISK_WRITTEN_BYTES] = 0x20000, [DISK_FLUSHES] = 1, [DISK_DISCARDS] = 0,
	};
	__u64 before[ARRAY_SIZE(once)];

	for (unsigned int i = 0; i < ARRAY_SIZE(once); i++)
		before[i] = counted(TRAFFIC_DISK, i);
	start(BLK, 1);
	memset(area.hva + BUFFER, 0x5a, 0x20000);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x20000));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	memset(area.hva + BUFFER, 0, 0x20000);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x20000));
	EQ(0x5a, area.hva[BUFFER]);
	EQ(0x5a, area.hva[BUFFER + 0x1ffff]);
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_IN, IMAGE_SIZE / SECTOR, SECTOR));
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_OUT, 0, 100));
	EQ(VIRTIO_BLK_S_UNSUPP, ask_and_wait(77, 0, 0));
	/* What has failed does not count. */
	for (unsigned int i = 0; i < ARRAY_SIZE(once); i++)
		EQ(before[i] + once[i], counted(TRAFFIC_DISK, i));
}

static void disk_of_4096(void)
{
	EQ(4096, get(BLK, CONFIG + offsetof(struct virtio_blk_config, blk_size), 4));
	EQ(IMAGE_SIZE / SECTOR, get(BLK, CONFIG, 4));
}

/* The image has a last sector that is not whole. */
static void disk_of_512(void)
{
	EQ(512, get(BLK, CONFIG + offsetof(struct virtio_blk_config, blk_size), 4));
	EQ(IMAGE_SIZE / SECTOR, get(BLK, CONFIG, 4));
}

/* Held once more: what was told before is not told again, however early that was. */
static bool hold(void)
{
	bool is_told = COMES_TRUE(is_held);

	is_held = false;
	return is_told;
}

/* With a thread, where errors can be made: a write waits for the host, and a read does not. */
static void disk_holds(void)
{
	static const int errors[] = { ENOSPC, EDQUOT, EIO };

	start(BLK, 1);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		write_error = errors[i];
		ask_disk(VIRTIO_BLK_T_OUT, 8, 0x1000);
		CHECK(hold());
		CHECK(strstr(said, strerror(errors[i])));
		EQ(NOT_YET, area.hva[STATUS]);
		/* Nothing is in flight: a pause is not held up by it. */
		CHECK(COMES_TRUE(disk()->ops->drain(disk())));
		/* Still there when the VM goes on: held again. */
		disk()->ops->resume(disk());
		CHECK(hold());
		write_error = 0;
		disk()->ops->resume(disk());
		CHECK(wait_for(0));
		EQ(VIRTIO_BLK_S_OK, area.hva[STATUS]);
	}
	write_error = EFBIG;
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	write_error = 0;
}

/* A driver that resets the device gets its memory back, whatever is held. */
static void disk_resets(void)
{
	start(BLK, 1);
	write_error = ENOSPC;
	ask_disk(VIRTIO_BLK_T_OUT, 8, 0x1000);
	CHECK(hold());
	put(BLK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	EQ(0, get(BLK, VIRTIO_PCI_COMMON_STATUS, 1));
	write_error = 0;
	disk()->ops->resume(disk());
	start(BLK, 1);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
}

/* One that is made meanwhile is not waited for: the driver reads the status until it is over. */
static void disk_resets_late(void)
{
	start(BLK, 1);
	pthread_mutex_lock(&writing);
	ask_disk(VIRTIO_BLK_T_OUT, 8, 0x1000);
	put(BLK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	CHECK(get(BLK, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_DRIVER_OK);
	/* Until then it does nothing. */
	put(BLK, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	put(BLK, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	put(BLK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	handle_events(0);
	EQ(15, get(BLK, VIRTIO_PCI_COMMON_STATUS, 1));
	EQ(0, get(BLK, VIRTIO_PCI_COMMON_Q_ENABLE, 2));
	pthread_mutex_unlock(&writing);
	CHECK(COMES_TRUE(!get(BLK, VIRTIO_PCI_COMMON_STATUS, 1)));
	/* What ended late has written nothing. */
	EQ(NOT_YET, area.hva[STATUS]);
	EQ(0, used(0)->idx);
	start(BLK, 1);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
}

/* What a request asks for is done in pieces, so that none takes long. */
static void disk_does_pieces(void)
{
	const struct virtio_blk_discard_write_zeroes range = {
		.sector = 8, .num_sectors = 0x2400000 / SECTOR,
	};
	struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_OUT, .sector = 8 };
	const __u32 size = 0xa8000;

	start(BLK, 1);
	most_moved = most_punched = 0;
	memcpy(area.hva + HEADER, &header, sizeof(header));
	memset(area.hva + BUFFER, 0x5a, size);
	area.hva[BUFFER] = 0x11;
	area.hva[BUFFER + size - 1] = 0x22;
	area.hva[STATUS] = NOT_YET;
	desc(0)[0] = (struct vring_desc) { HEADER, sizeof(header), VRING_DESC_F_NEXT, 1 };
	for (__u16 i = 1; i < 6; i++)
		desc(0)[i] = (struct vring_desc) { BUFFER, size, VRING_DESC_F_NEXT, i + 1 };
	desc(0)[6] = (struct vring_desc) { STATUS, 1, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(BLK, 0);
	CHECK(wait_for(0));
	EQ(VIRTIO_BLK_S_OK, area.hva[STATUS]);
	for (__u32 i = 0; i < 5; i++) {
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8 + i * (size / SECTOR), size));
		EQ(0x11, area.hva[BUFFER]);
		EQ(0x5a, area.hva[BUFFER + 1]);
		EQ(0x22, area.hva[BUFFER + size - 1]);
	}
	memcpy(area.hva + BUFFER, &range, sizeof(range));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_DISCARD, 0, sizeof(range)));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8 + 4 * (size / SECTOR), size));
	EQ(0, area.hva[BUFFER + size - 1]);
	if (!has_no_ring)
		return;
	EQ(0x100000, most_moved);
	EQ(0x1000000, most_punched);
}

/* The host says once that something could not be brought out: the driver hears of it, whoever asked. */
static void disk_loses(void)
{
	start(BLK, 1);
	sync_error = EIO;
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	CHECK(COMES_TRUE(disk()->ops->drain(disk())));
	sync_error = 0;
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	CHECK(!is_held);
}

static void disk_shrinks(void)
{
	start(BLK, 1);
	CHECK(!truncate(options.disks[0].path, IMAGE_SIZE / 4));
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_IN, IMAGE_SIZE / 2 / SECTOR, SECTOR));
	CHECK(!truncate(options.disks[0].path, IMAGE_SIZE));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, IMAGE_SIZE / 2 / SECTOR, SECTOR));
}

/* A pause: all that is written is on the disk, by one flush, and none where nothing has been. */
static void disk_drains(void)
{
	start(BLK, 1);
	CHECK(COMES_TRUE(disk()->ops->drain(disk())));
	nr_synced = 0;
	CHECK(disk()->ops->drain(disk()));
	ask_disk(VIRTIO_BLK_T_OUT, 8, 0x1000);
	CHECK(!disk()->ops->drain(disk()));
	CHECK(COMES_TRUE(disk()->ops->drain(disk())));
	EQ(VIRTIO_BLK_S_OK, area.hva[STATUS]);
	if (has_no_ring)
		EQ(1, nr_synced);
}

/* What begins like another format is refused, unless it is said to be raw; and small ones. */
static void disk_formats(void)
{
	static const struct {
		off_t at;
		const char *magic, *name;
	} rows[] = {
		{ 0, "QFI\xfb", "qcow2" }, { 0, "KDMV", "VMDK" }, { 0, "vhdxfile", "VHDX" },
		{ 0, "# Disk DescriptorFile", "VMDK" }, { 0, "conectix", "VHD" },
		{ 0x4000 - 512, "conectix", "VHD" }, { 64, "\x7f\x10\xda\xbe", "VDI" },
		{ 0, "\x1f\x8b\x08", "gzip" }, { 0, "\x28\xb5\x2f\xfd", "zstd" }, { 0, "BZh9", "bzip2" },
		{ 0x4000 - 512, "koly", "DMG" },
	};
	int fd = memfd_create("other", 0);
	char path[32];
	struct disk other = { .path = path };
	struct image_file image;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		CHECK(!ftruncate(fd, 0) && !ftruncate(fd, 0x4000));
		CHECK(pwrite(fd, rows[i].magic, strlen(rows[i].magic), rows[i].at) > 0);
		other.is_raw = false;
		said[0] = 0;
		EQ(-1, disk_open(&image, &other));
		CHECK(strstr(said, rows[i].name));
		other.is_raw = true;
		EQ(0, disk_open(&image, &other));
		EQ(0x4000, image.size);
		close(image.fd);
	}
	CHECK(!ftruncate(fd, 0) && !ftruncate(fd, 0x2100));
	other = (struct disk) { .path = path, .sector = 4096 };
	EQ(0, disk_open(&image, &other));
	EQ(0x2000, image.size);
	close(image.fd);
	CHECK(!ftruncate(fd, 600));
	EQ(-1, disk_open(&image, &other));
	close(fd);
}

/* ---- disks that qemu-storage-daemon knows -------------------------------------------------------- */

#define FOREIGN_SIZE 0x4000000

static char directory[32];

/* A command of the shell, in a directory of its own. */
static bool sh(const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && %s > /dev/null", directory, command);
	return !system(line);
}

#define VERSION_BYTE 7

static int write_byte(const char *path, long at, int byte)
{
	FILE *file = fopen(path, "r+");

	return !file || fseek(file, at, SEEK_SET) || fputc(byte, file) != byte || fclose(file);
}

static int serve(const struct disk *disk)
{
	options.disks[0] = *disk;
	return virtio_blk_create(&vm);
}

/* What is written is there when the daemon has ended and begun again; at first it is not. */
static void keeps(const struct disk *disk)
{
	memset(area.hva + BUFFER + 0x1000, 'Z', 0x1000);
	for (int round = 0; round < 2; round++) {
		EQ(0, pci_create(&vm));
		EQ(0, chipset_create(&vm));
		EQ(0, serve(disk));
		EQ(FOREIGN_SIZE / SECTOR, get(BLK, CONFIG, 8));
		start(BLK, 1);
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x1000));
		EQ(round, !memcmp(area.hva + BUFFER, area.hva + BUFFER + 0x1000, 0x1000));
		memset(area.hva + BUFFER, 'Z', 0x2000);
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
		CHECK(!needs_reset(BLK));
		devices_destroy(&vm);
	}
}

static void disk_of_qcow2(void)
{
	char path[64];
	struct disk qcow2 = { .path = path, .format = "qcow2" };

	snprintf(path, sizeof(path), "%s/a,b \"c\".qcow2", directory);
	CHECK(sh("qemu-img create -qf qcow2 'a,b \"c\".qcow2' 64M"));
	keeps(&qcow2);
	/* A raw disk may look like anything, and is not believed; nor is a name. */
	qcow2.format = "vdi";
	EQ(-1, serve(&qcow2));
	CHECK(strstr(said, "not vdi, but qcow2"));
	/* What the daemon has to say is said here, and nothing else. */
	qcow2.format = "qcow2";
	CHECK(!write_byte(path, VERSION_BYTE, 9));
	nr_complaints = 0;
	EQ(-1, serve(&qcow2));
	EQ(1, nr_complaints);
	CHECK(strstr(said, "\"c\".qcow2: qemu-storage-daemon: --blockdev: Unsupported qcow2 version 9"));
}

/* The key is the file, and the image is not what is in it. */
static void disk_of_luks(void)
{
	char path[64], key[64];
	struct disk luks = { .path = path, .format = "luks", .key = key };
	struct image_file image;

	snprintf(path, sizeof(path), "%s/a.luks", directory);
	snprintf(key, sizeof(key), "%s/k,e y", directory);
	/* It measures the processor first, and gives up where the clock is too coarse for that. */
	CHECK(sh("printf 'a\\nkey' > 'k,e y' && n=0 && until qemu-img create -qf luks "
		 "--object secret,id=s,file='k,,e y' -o key-secret=s,iter-time=10 a.luks 64M 2> why; "
		 "do [ $((n += 1)) -lt 200 ] || { cat why; exit 1; }; done"));
	keeps(&luks);
	CHECK(sh("! grep -q ZZZZZZZZ a.luks"));
	/* A guest may have encrypted its raw disk. */
	luks.format = NULL;
	EQ(0, disk_open(&image, &luks));
	close(image.fd);
	luks.format = "luks";
	CHECK(sh("printf wrong > 'k,e y'"));
	EQ(-1, serve(&luks));
	CHECK(sh("truncate -s 64M a.luks && dd if=/dev/zero of=a.luks count=1 conv=notrunc status=none"));
	EQ(-1, serve(&luks));
	CHECK(strstr(said, "not luks, but raw"));
}

/* Both in one: an image of a format that another daemon serves by NBD, under two names. */
static void disk_of_nbd(void)
{
	char path[128];
	struct disk nbd = { .path = path, .format = "raw" };

	CHECK(sh("truncate -s 64M raw && qemu-img create -qf qcow2 -o preallocation=metadata q 64M && "
		 "qemu-storage-daemon --daemonize --pidfile pid --nbd-server addr.type=unix,addr.path=s "
		 "--blockdev file,node-name=raw,filename=raw --blockdev file,node-name=q,filename=q "
		 "--export nbd,id=raw,node-name=raw,name='a b',writable=on "
		 "--export nbd,id=q,node-name=q,name=,writable=on"));
	snprintf(path, sizeof(path), "nbd+unix:///a%%20b?socket=%s/s", directory);
	keeps(&nbd);
	snprintf(path, sizeof(path), "nbd+unix:///?socket=%s/s", directory);
	nbd.format = "qcow2";
	keeps(&nbd);
	CHECK(sh("kill $(cat pid)"));
	/* Nobody is there. */
	snprintf(path, sizeof(path), "nbd+unix:///?socket=%s/t", directory);
	nr_complaints = 0;
	EQ(-1, serve(&nbd));
	EQ(1, nr_complaints);
}

static bool drain(void)
{
	return COMES_TRUE(disk()->ops->drain(disk()));
}

#define FAILS(nr, io, error)								\
	"inject-error." #nr ".event=none,inject-error." #nr ".once=on,"			\
	"inject-error." #nr ".iotype=" #io ",inject-error." #nr ".errno=" #error ","

/*
 * A server whose disk is full for a write, and then broken; likewise for the flush of a pause, which is
 * nobody's loss, and for the driver's own.
 */
static void disk_of_full_server(void)
{
	static const struct { unsigned int type, size, nr_errors; } rows[] = {
		{ VIRTIO_BLK_T_OUT, 0x1000, 2 }, { VIRTIO_BLK_T_FLUSH, 0, 1 },
	};
	char path[64];
	struct disk nbd = { .path = path, .format = "raw" };

	CHECK(sh("qemu-storage-daemon --daemonize --pidfile pid --nbd-server addr.type=unix,addr.path=f "
		 "--blockdev blkdebug,node-name=n,image.driver=file,image.filename=raw,"
		 FAILS(0, write, 28) FAILS(1, write, 5) FAILS(2, flush, 28)
		 FAILS(3, flush, 5) "discard=unmap --export nbd,id=n,node-name=n,name=,writable=on"));
	snprintf(path, sizeof(path), "nbd+unix:///?socket=%s/f", directory);
	EQ(0, pci_create(&vm));
	EQ(0, chipset_create(&vm));
	EQ(0, serve(&nbd));
	start(BLK, 1);
	memset(area.hva + BUFFER, 'F', 0x1000);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ask_disk(rows[i].type, 8, rows[i].size);
		for (unsigned int error = 0; error < rows[i].nr_errors; error++) {
			CHECK(hold());
			CHECK(strstr(said, "cannot be written: ") &&
			      (strstr(said, strerror(ENOSPC)) || strstr(said, strerror(EIO))));
			EQ(NOT_YET, area.hva[STATUS]);
			disk()->ops->resume(disk());
		}
		CHECK(wait_for(0));
		EQ(VIRTIO_BLK_S_OK, area.hva[STATUS]);
		CHECK(drain());
	}
	devices_destroy(&vm);
	CHECK(sh("kill $(cat pid) && tail -c +4097 raw | head -c 4096 | tr -d F | cmp - /dev/null"));
}

/* Data that are compressed and damaged: what cannot be read the driver hears of. */
static void disk_of_bad_data(void)
{
	char path[64];
	struct disk qcow2 = { .path = path, .format = "qcow2" };

	CHECK(sh("seq 9999 > t && truncate -s 64M t && qemu-img convert -c -O qcow2 t t.qcow2 && "
		 "yes | dd of=t.qcow2 bs=1k seek=320 count=8 conv=notrunc status=none"));
	snprintf(path, sizeof(path), "%s/t.qcow2", directory);
	EQ(0, pci_create(&vm));
	EQ(0, chipset_create(&vm));
	EQ(0, serve(&qcow2));
	start(BLK, 1);
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_IN, 0, 0x1000));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 0x10000 / SECTOR, 0x1000));
	CHECK(!is_held);
	devices_destroy(&vm);
}

/* What is discarded or zeroed is, in pieces, or large requests at once; and the state is not all here. */
static void disk_of_zeros(void)
{
	static const __u32 types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	struct virtio_blk_discard_write_zeroes range = { .sector = 0, .num_sectors = 0x2400000 / SECTOR };
	char path[64];
	struct disk qcow2 = { .path = path, .format = "qcow2", .sector = 4096 };
	struct state state;

	snprintf(path, sizeof(path), "%s/z.qcow2", directory);
	CHECK(sh("qemu-img create -qf qcow2 z.qcow2 64M"));
	EQ(0, pci_create(&vm));
	EQ(0, chipset_create(&vm));
	EQ(0, serve(&qcow2));
	EQ(4096, get(BLK, CONFIG + offsetof(struct virtio_blk_config, blk_size), 4));
	start(BLK, 1);
	for (size_t i = 0; i < 3; i++) {
		memset(area.hva + BUFFER, 'Q', 0x80000);
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 0x2380000 / SECTOR, 0x80000));
		range.flags = i == 2 ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
		memcpy(area.hva + BUFFER, &range, sizeof(range));
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(types[!!i], 0, sizeof(range)));
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 0x2380000 / SECTOR, 0x80000));
		CHECK(!area.hva[BUFFER] && !memcmp(area.hva + BUFFER, area.hva + BUFFER + 1, 0x7ffff));
	}
	CHECK(drain());
	state_begin_save(&state);
	disk()->ops->state(disk(), &state);
	CHECK(strstr(state.why, "served outside of the runner"));
	state_free(&state);
	devices_destroy(&vm);
}

/* The only process that this one has started and not waited for. */
static pid_t daemon_of_disk(void)
{
	FILE *file = fopen("/proc/thread-self/children", "r");
	int pid = 0;

	CHECK(file && fscanf(file, "%d", &pid) == 1 && pid > 1);
	if (file)
		fclose(file);
	return pid;
}

/* One that stands still is waited for, but by nobody here; when it dies, the driver has errors. */
static void disk_of_dead_daemon(void)
{
	char path[64];
	struct disk qcow2 = { .path = path, .format = "qcow2" };
	pid_t pid;

	snprintf(path, sizeof(path), "%s/z.qcow2", directory);
	EQ(0, pci_create(&vm));
	EQ(0, chipset_create(&vm));
	EQ(0, serve(&qcow2));
	pid = daemon_of_disk();
	start(BLK, 1);
	CHECK(!kill(pid, SIGSTOP));
	ask_disk(VIRTIO_BLK_T_OUT, 8, 0x80000);
	CHECK(!disk()->ops->drain(disk()));
	put(BLK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	CHECK(get(BLK, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_DRIVER_OK);
	CHECK(!kill(pid, SIGCONT));
	CHECK(COMES_TRUE(!get(BLK, VIRTIO_PCI_COMMON_STATUS, 1)));
	EQ(NOT_YET, area.hva[STATUS]);
	start(BLK, 1);
	CHECK(!kill(pid, SIGSTOP));
	ask_disk(VIRTIO_BLK_T_OUT, 8, 0x80000);
	CHECK(!kill(pid, SIGKILL));
	nr_complaints = 0;
	CHECK(wait_for(0));
	EQ(VIRTIO_BLK_S_IOERR, area.hva[STATUS]);
	CHECK(strstr(said, "z.qcow2: qemu-storage-daemon has ended"));
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x1000));
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	CHECK(drain() && !is_held && !needs_reset(BLK));
	start(BLK, 1);
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	EQ(1, nr_complaints);
	devices_destroy(&vm);
}

/* A machine that begins again finds the daemon that it has left, if there is one. */
static void disk_begins_again(void)
{
	char path[64];
	struct disk qcow2 = { .path = path, .format = "qcow2" };
	pid_t pid;

	snprintf(path, sizeof(path), "%s/z.qcow2", directory);
	keep_begin();
	for (int round = 0; round < 3; round++) {
		EQ(0, pci_create(&vm));
		EQ(0, chipset_create(&vm));
		EQ(0, serve(&qcow2));
		EQ(FOREIGN_SIZE / SECTOR, get(BLK, CONFIG, 8));
		if (!round)
			pid = daemon_of_disk();
		EQ(pid, daemon_of_disk());
		start(BLK, 1);
		memset(area.hva + BUFFER, 0, 0x2000);
		if (round)
			EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x1000));
		EQ(round ? 'A' : 0, area.hva[BUFFER]);
		memset(area.hva + BUFFER, 'A', 0x2000);
		/* It may be under way when the machine ends. */
		ask_disk(VIRTIO_BLK_T_OUT, 8, 0x1000);
		devices_destroy(&vm);
	}
	/* Once it cannot answer any more its end is there to be read. */
	CHECK(!kill(pid, SIGKILL) && !waitid(P_PID, pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
	EQ(-1, serve(&qcow2));
	CHECK(strstr(said, "which a machine that begins again does not start"));
	keep_end();
}

/* ---- network cards ----------------------------------------------------------------------- */

static void give_buffer(__u32 size)
{
	desc(0)[0] = (struct vring_desc) { BUFFER, size, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(NET, 0);
}

/* "5.1.6.3.1": a buffer that is too small costs its frame, and nothing else. */
static void small_buffers(void)
{
	static const unsigned char frame[64] = { 0xff };
	const __u32 whole = sizeof(struct virtio_net_hdr_v1) + sizeof(frame);
	__u64 frames = counted(TRAFFIC_NETWORK, NETWORK_RECEIVED_FRAMES);
	__u64 bytes = counted(TRAFFIC_NETWORK, NETWORK_RECEIVED_BYTES);

	start(NET, 2);
	for (__u32 size = 1; size < whole; size += 9) {
		give_buffer(size);
		wire.receive(wire.card, frame, sizeof(frame));
		CHECK(wait_for(0));
		EQ(0, used(0)->ring[(used(0)->idx - 1) % SIZE].len);
		CHECK(!needs_reset(NET));
	}
	give_buffer(whole);
	wire.receive(wire.card, frame, sizeof(frame));
	CHECK(wait_for(0));
	EQ(whole, used(0)->ring[(used(0)->idx - 1) % SIZE].len);
	EQ(frames + 1, counted(TRAFFIC_NETWORK, NETWORK_RECEIVED_FRAMES));
	EQ(bytes + sizeof(frame), counted(TRAFFIC_NETWORK, NETWORK_RECEIVED_BYTES));
}

static void sent_frames(void)
{
	const __u32 header = sizeof(struct virtio_net_hdr_v1);

	start(NET, 2);
	desc(1)[0] = (struct vring_desc) { BUFFER, header + 60, 0, 0 };
	make_available(1, 0);
	notify(NET, 1);
	CHECK(wait_for(1));
	EQ(1, counted(TRAFFIC_NETWORK, NETWORK_SENT_FRAMES));
	EQ(60, counted(TRAFFIC_NETWORK, NETWORK_SENT_BYTES));
}

/* ---- consoles --------------------------------------------------------------------------------- */

static unsigned int columns(void)
{
	return get(CONSOLE, CONFIG + offsetof(struct virtio_console_config, cols), 2);
}

static unsigned int rows(void)
{
	return get(CONSOLE, CONFIG + offsetof(struct virtio_console_config, rows), 2);
}

/* "5.3.4": the size of the screen, and that it has changed. */
static void screen(void)
{
	unsigned int generation;

	put(CONSOLE, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	CHECK(get(CONSOLE, VIRTIO_PCI_COMMON_DF, 4) & 1 << VIRTIO_CONSOLE_F_SIZE);
	start(CONSOLE, 2);
	CHECK(columns() == 80 && rows() == 25);
	generation = get(CONSOLE, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	console_ops->resized(console_device, &(const struct tty_size) { 132, 43 });
	CHECK(columns() == 132 && rows() == 43);
	CHECK(get(CONSOLE, VIRTIO_PCI_COMMON_CFGGENERATION, 1) != generation);
}

static void give_frame(__u32 size)
{
	desc(1)[0] = (struct vring_desc) { BUFFER, size, 0, 0 };
	make_available(1, 0);
	notify(NET, 1);
}

/* ---- the balloon ---------------------------------------------------------------------------- */

/* Seven buffers of a chain, each the same, and a look at how much is done for them at once. */
static void give_pages(unsigned int nr, __u32 size, __u16 flags)
{
	start(BALLOON, 3);
	for (__u16 i = 0; i < SIZE - 1; i++)
		desc(nr)[i] = (struct vring_desc) {
			BUFFER, size, flags | (i < SIZE - 2 ? VRING_DESC_F_NEXT : 0), i + 1,
		};
	make_available(nr, 0);
	bus_write(&vm, SPACE_PORT, PCI_IO_FIRST + 16 * BALLOON + 2 * nr, 2, nr);
}

/* However long a chain is, a turn is a few calls, and the next one goes on with it. */
static void balloon_turns(void)
{
	const __u32 size = 0x1000, pages = (SIZE - 1) * size / 4;
	unsigned int turns = 0, before;

	memset(area.hva + BUFFER, 0, size);
	nr_discards = 0;
	give_pages(0, size, 0);
	for (turns = 0; used(0)->idx != avail(0)->idx && turns < pages; turns++) {
		before = nr_discards;
		loop_run_once(&vm.io);
		CHECK(nr_discards - before <= 128);
	}
	EQ(pages, nr_discards);
	CHECK(turns >= pages / 128);
	discarded = 0;
	give_pages(2, 0xc0000, VRING_DESC_F_WRITE);
	for (turns = 0; used(2)->idx != avail(2)->idx && turns < pages; turns++) {
		__u64 first = discarded;

		loop_run_once(&vm.io);
		CHECK(discarded - first <= 4 << 20);
	}
	EQ((SIZE - 1) * 0xc0000, discarded);
}

/* ---- locks ---------------------------------------------------------------------------------- */

static bool vm_was_held;

static __u64 read_held(struct device *device, const struct region *region, __u64 offset, unsigned int size)
{
	(void)device;
	(void)region;
	(void)offset;
	(void)size;
	vm_was_held = is_locked(&vm.lock);
	return 0;
}

/* A virtio device works with its own lock, and who has to do with the chipset does not wait for it. */
static void own_locks(void)
{
	static const struct device_ops kind = { .name = "any", .read = read_held };
	static struct device device = { .ops = &kind };
	const struct region region = {
		.space = SPACE_PORT, .first = 0x20, .size = 2, .width = 1, .device = &device,
	};

	start(NET, 2);
	vm_is_free = card_is_held = vm_was_held = false;
	give_frame(sizeof(struct virtio_net_hdr_v1) + 60);
	CHECK(wait_for(1));
	CHECK(vm_is_free && card_is_held);
	EQ(0, region_add(&vm, &region));
	pthread_mutex_lock(wire.lock);
	bus_read(&vm, SPACE_PORT, 0x20, 1);
	pthread_mutex_unlock(wire.lock);
	CHECK(vm_was_held);
	region_remove(&vm, &region);
	CHECK(!is_locked(&vm.lock) && !is_locked(wire.lock));
}

/* ---- PCI, of the random numbers ------------------------------------------------------------ */

/* "4.1.4.9": the random numbers' registers, while nothing is decoded. */
static void config_access(void)
{
	unsigned int cap = find_capability(VIRTIO_ID_RNG, VIRTIO_PCI_CAP_PCI_CFG);
	unsigned int data = cap + sizeof(struct virtio_pci_cap);

	CHECK(cap);
	config_put(PCI_COMMAND, 2, 0);
	EQ(~0ull >> 56, get(RNG, VIRTIO_PCI_COMMON_NUMQ, 1));
	config_put(cap + VIRTIO_PCI_CAP_BAR, 1, 1);
	config_put(cap + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_NUMQ);
	config_put(cap + VIRTIO_PCI_CAP_LENGTH, 4, 2);
	EQ(1, config_get(data, 2));
	config_put(cap + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_STATUS);
	config_put(cap + VIRTIO_PCI_CAP_LENGTH, 4, 1);
	config_put(data, 1, 3);
	EQ(3, config_get(data, 1));
	/* What no register is, is not accessed; nor is anything beyond the registers. */
	config_put(cap + VIRTIO_PCI_CAP_BAR, 1, 5);
	EQ(3, config_get(data, 1));
	config_put(cap + VIRTIO_PCI_CAP_BAR, 1, 1);
	config_put(cap + VIRTIO_PCI_CAP_OFFSET, 4, 0xfffffffc);
	config_put(cap + VIRTIO_PCI_CAP_LENGTH, 4, 4);
	config_put(data, 4, 0xffffffff);
	EQ(0xffffffff, config_get(data, 4));
	config_put(PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	EQ(3, get(RNG, VIRTIO_PCI_COMMON_STATUS, 1));
}

/* "3.1.1": what is available before DRIVER_OK is used then, without a notification. */
static void early_buffers(void)
{
	begin(RNG, 1);
	desc(0)[0] = (struct vring_desc) { BUFFER, 64, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(RNG, 0);
	EQ(0, used(0)->idx);
	put(RNG, VIRTIO_PCI_COMMON_STATUS, 1, 15);
	CHECK(wait_for(0));
	EQ(64, used(0)->ring[0].len);
}

/* ---- the bus --------------------------------------------------------------------------------- */

static unsigned int parts, odd_parts;

static __u64 read_part(struct device *device, const struct region *region, __u64 offset, unsigned int size)
{
	(void)device;
	(void)region;
	(void)offset;
	parts += size;
	odd_parts += size != 1 && size != 2 && size != 4;
	return 0;
}

static void write_part(struct device *device, const struct region *region, __u64 offset, unsigned int size,
		       __u64 data)
{
	(void)data;
	read_part(device, region, offset, size);
}

/* No device gets three bytes, wherever an access begins and ends. */
static void odd_accesses(void)
{
	static const struct device_ops kind = { .name = "any", .read = read_part, .write = write_part };
	static struct device device = { .ops = &kind };
	const struct region region = {
		.space = SPACE_MMIO, .first = 0x1000, .size = 7, .width = 4, .device = &device,
	};

	EQ(0, region_add(&vm, &region));
	for (__u64 address = 0xff8; address < 0x1008; address++) {
		for (unsigned int size = 1; size <= 8; size *= 2) {
			__u64 first = address < 0x1000 ? 0x1000 : address;
			__u64 end = address + size > 0x1007 ? 0x1007 : address + size;

			parts = 0;
			bus_read(&vm, SPACE_MMIO, address, size);
			bus_write(&vm, SPACE_MMIO, address, size, 0);
			EQ(end > first ? 2 * (end - first) : 0, parts);
		}
	}
	EQ(0, odd_parts);
	region_remove(&vm, &region);
}

/* ---- daemons ----------------------------------------------------------------------------------- */

static pthread_t asking;
static volatile bool is_asking;

static void interrupted(int number)
{
	(void)number;
}

/* Interrupts whoever asks, all the time. */
static void *interrupt(void *unused)
{
	while (is_asking) {
		pthread_kill(asking, SIGUSR1);
		usleep(1000);
	}
	return unused;
}

/* Answers the first question, GET_FEATURES, in halves, and says then that it knows no more. */
static void *answer_slowly(void *data)
{
	static const __u32 answer[] = { 1, 1 | 4, 8, VIRTIO_FEATURES & 0xffffffff, VIRTIO_FEATURES >> 32 };
	char question[12];
	int fd = *(int *)data;

	if (recv(fd, question, sizeof(question), MSG_WAITALL) != sizeof(question))
		return NULL;
	for (size_t at = 0; at < sizeof(answer); at += 4) {
		usleep(20000);
		if (send(fd, (const char *)answer + at, 4, MSG_NOSIGNAL) != 4)
			return NULL;
	}
	return data;
}

static void interrupted_talk(void)
{
	struct sigaction action = { .sa_handler = interrupted };
	static struct virtio virtio;
	struct vhost_user user = { .virtio = &virtio, .name = "daemon" };
	pthread_t daemon, disturber;
	int sockets[2];

	virtio.pci.device.vm = &vm;
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	user.source.fd = sockets[0];
	sigaction(SIGUSR1, &action, NULL);
	asking = pthread_self();
	is_asking = true;
	CHECK(!pthread_create(&daemon, NULL, answer_slowly, &sockets[1]));
	CHECK(!pthread_create(&disturber, NULL, interrupt, NULL));
	EQ(0, vhost_user_create(&vm, &user));
	is_asking = false;
	pthread_join(disturber, NULL);
	pthread_join(daemon, NULL);
	vhost_user_destroy(&user);
	close(sockets[1]);
}

/* ---- a daemon that the test is --------------------------------------------------------------- */

enum { GET_VRING_BASE = 11, SET_VRING_KICK = 12, REPLY = 1 | 4, OUTSIDE = BALLOON + 1 };

static struct outside {
	struct virtio virtio;
	struct vhost_user user;
	int fd;
} outside;

static int outside_start(struct virtio *virtio)
{
	(void)virtio;
	return vhost_user_start(&outside.user);
}

static bool outside_reset(struct virtio *virtio)
{
	(void)virtio;
	return vhost_user_stop(&outside.user);
}

static void outside_destroy(struct virtio *virtio)
{
	(void)virtio;
	vhost_user_destroy(&outside.user);
	close(outside.fd);
}

static int create_outside(void)
{
	static const struct virtio_ops ops = {
		.name = "outside", .id = 26, .nr_queues = 1, .start = outside_start, .reset = outside_reset,
		.destroy = outside_destroy,
	};
	pthread_t daemon;
	int sockets[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		return -1;
	outside = (struct outside) { .fd = sockets[1], .virtio.nr_outside = 1 };
	outside.user = (struct vhost_user) {
		.source.fd = sockets[0], .virtio = &outside.virtio, .name = "daemon",
	};
	if (pthread_create(&daemon, NULL, answer_slowly, &outside.fd))
		return -1;
	err = vhost_user_create(&vm, &outside.user);
	pthread_join(daemon, NULL);
	return err ? -1 : virtio_create(&vm, &outside.virtio, &ops);
}

/* Take what it has been told until now; the last request, 0 if it was none. */
static __u32 last_told(void)
{
	__u32 header[3], body[64], last = 0;

	while (recv(outside.fd, header, sizeof(header), MSG_DONTWAIT) == sizeof(header)) {
		last = header[0];
		if (header[2] && recv(outside.fd, body, header[2], MSG_DONTWAIT) != header[2])
			return 0;
	}
	return last;
}

static void say_to_runner(__u32 request)
{
	const __u32 answer[] = { request, REPLY, 8, 0, 0 };

	/* In halves. */
	EQ(12, send(outside.fd, answer, 12, MSG_NOSIGNAL));
	handle_events(0);
	EQ(8, send(outside.fd, answer + 3, 8, MSG_NOSIGNAL));
	handle_events(0);
}

/* Nobody waits for its answers; a reset is over when they have come, or the daemon has gone. */
static void silent_daemon(void)
{
	start(OUTSIDE, 1);
	EQ(SET_VRING_KICK, last_told());
	EQ(15, get(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1));
	put(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	EQ(15, get(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1));
	EQ(GET_VRING_BASE, last_told());
	say_to_runner(GET_VRING_BASE);
	EQ(0, get(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1));
	CHECK(!outside.user.is_gone);
	/* It has ended in the middle of a reset. */
	start(OUTSIDE, 1);
	put(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	EQ(15, get(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1));
	shutdown(outside.fd, SHUT_RDWR);
	handle_events(0);
	CHECK(strstr(said, "has ended"));
	EQ(0, get(OUTSIDE, VIRTIO_PCI_COMMON_STATUS, 1));
	start(OUTSIDE, 1);
	CHECK(needs_reset(OUTSIDE));
}

/* One that says what nobody has asked is not listened to any more, and does not keep us busy. */
static void talkative_daemon(void)
{
	devices_destroy(&vm);
	EQ(0, pci_create(&vm));
	EQ(0, create_outside());
	say_to_runner(GET_VRING_BASE);
	CHECK(strstr(said, "nobody has asked"));
	handle_events(0);
	EQ(0, epoll_wait(vm.io.epoll, &(struct epoll_event) { 0 }, 1, 0));
}

/* ---- devices that are saved ------------------------------------------------------------------- */

static bool create_all(void)
{
	return create_devices() && !create_outside();
}

/* All but those that are served outside. */
static void name_state(struct state *state)
{
	unsigned int nr = 0;
	char name[16];

	for (struct device *device = vm.devices; device; device = device->next, nr++) {
		const struct virtio *virtio = container_of(device, struct virtio, pci.device);
		bool is_virtio = !strcmp(device->ops->name, "virtio");

		snprintf(name, sizeof(name), "device%u", nr);
		if (!device->ops->state || (is_virtio && virtio->nr_outside) || !state_enter(state, name))
			continue;
		device->ops->state(device, state);
		state_leave(state);
	}
}

/* What is loaded is marked: of a copy. */
static void load(const struct state *from, const char *why)
{
	unsigned char *data = malloc(from->size);
	struct state state;

	memcpy(data, from->data, from->size);
	state_begin_load(&state, data, from->size);
	name_state(&state);
	state_end(&state);
	CHECK(why ? !!strstr(state.why, why) : !state.why[0]);
	if (state.why[0])
		snprintf(said, sizeof(said), "%s", state.why);
	free(data);
}

/* Have the devices this state? */
static void is_now(const struct state *before)
{
	struct state after;

	state_begin_save(&after);
	name_state(&after);
	CHECK(before->size == after.size && !memcmp(before->data, after.data, after.size));
	state_free(&after);
}

/*
 * The same machine with devices that have just been made; @why they refuse the state, or NULL.  And
 * what they are once more, when the driver has left them.
 */
static void move_devices(const char *why)
{
	struct state before;

	state_begin_save(&before);
	name_state(&before);
	EQ(0, state_end(&before));
	destroy();
	CHECK(create_all());
	load(&before, why);
	if (!why) {
		is_now(&before);
		for (struct device *device = vm.devices; device; device = device->next)
			if (!strcmp(device->ops->name, "virtio"))
				virtio_reset(container_of(device, struct virtio, pci.device));
		load(&before, NULL);
		is_now(&before);
	}
	state_free(&before);
}

static void resume_all(void)
{
	for (struct device *device = vm.devices; device; device = device->next)
		if (device->ops->resume)
			device->ops->resume(device);
	handle_events(0);
}

/* A disk that may be no faster than that, and its machine. */
static bool begin_limited(struct rate rate)
{
	destroy();
	if (!make_image(0, IMAGE_SIZE))
		return false;
	options.disks[0].rate = rate;
	return create_all();
}

/* What a driver asks for too much stays with it: nothing waits for that, and it is done in its time. */
static void disk_is_limited(void)
{
	/* A byte a second: what is held back is for the time of a test. */
	CHECK(begin_limited((struct rate) { .bytes = 1, .burst_ns = 1 }));
	start(BLK, 1);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	ask_disk(VIRTIO_BLK_T_IN, 8, 0x1000);
	CHECK(COMES_TRUE(disk()->ops->drain(disk())));
	EQ(NOT_YET, area.hva[STATUS]);
	resume_all();
	EQ(NOT_YET, area.hva[STATUS]);
	put(BLK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	EQ(0, get(BLK, VIRTIO_PCI_COMMON_STATUS, 1));
	/* A request each ms: each is done, the later ones when the driver has nothing more to say. */
	CHECK(begin_limited((struct rate) { .requests = 1000, .burst_ns = 1 }));
	start(BLK, 1);
	for (unsigned int i = 0; i < 20; i++)
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x1000));
	for (unsigned int i = 0; i < SIZE; i++)
		ask_disk(VIRTIO_BLK_T_IN, 8, 0x1000);
	CHECK(wait_for(0));
}

/*
 * A machine that stands still begins nothing, nor goes on with what was begun, though there was more to
 * do than one turn may take; it is done when the machine goes on.
 */
static void stands_still(void)
{
	const __u32 size = 0xa8000;
	unsigned int discards;
	__u16 done;

	start(BLK, 1);
	for (__u16 i = 0; i < SIZE; i++)
		desc(0)[i] = (struct vring_desc) { BUFFER, size, VRING_DESC_F_NEXT, i + 1 };
	desc(0)[SIZE - 1] = (struct vring_desc) { STATUS, 1, VRING_DESC_F_WRITE, 0 };
	for (unsigned int i = 0; i < SIZE; i++)
		make_available(0, 0);
	bus_write(&vm, SPACE_PORT, PCI_IO_FIRST + 16 * BLK, 2, 0);
	loop_run_once(&vm.io);
	CHECK(COMES_TRUE(disk()->ops->drain(disk())));
	done = used(0)->idx;
	vm.paused = vm.drained = true;
	handle_events(100);
	EQ(done, used(0)->idx);
	CHECK(done < SIZE);
	vm.paused = vm.drained = false;
	resume_all();
	CHECK(wait_for(0));
	memset(area.hva + BUFFER, 0, 0x1000);
	nr_discards = 0;
	give_pages(0, 0x1000, 0);
	loop_run_once(&vm.io);
	discards = nr_discards;
	vm.paused = vm.drained = true;
	handle_events(100);
	EQ(discards, nr_discards);
	CHECK(used(0)->idx != avail(0)->idx);
	vm.paused = vm.drained = false;
	resume_all();
	EQ((SIZE - 1) * 0x1000 / 4, nr_discards);
}

/* The driver does not notice: it goes on where it was. */
static void saved_disk(void)
{
	start(BLK, 1);
	memset(area.hva + BUFFER, 0x77, 0x1000);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 16, 0x1000));
	EQ(1, used(0)->idx);
	move_devices(NULL);
	resume_all();
	EQ(15, get(BLK, VIRTIO_PCI_COMMON_STATUS, 1));
	memset(area.hva + BUFFER, 0, 0x1000);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 16, 0x1000));
	EQ(2, used(0)->idx);
	EQ(0x77, area.hva[BUFFER + 0xfff]);
}

/* A write that the host could not do is done when the machine goes on: before, the disk may be another's. */
static void saved_held(void)
{
	start(BLK, 1);
	write_error = ENOSPC;
	memset(area.hva + BUFFER, 0x66, 0x1000);
	ask_disk(VIRTIO_BLK_T_OUT, 24, 0x1000);
	CHECK(hold());
	write_error = 0;
	nr_writes = 0;
	move_devices(NULL);
	handle_events(100);
	EQ(0, nr_writes);
	EQ(NOT_YET, area.hva[STATUS]);
	/* Nor when it is saved again before it has gone on. */
	move_devices(NULL);
	EQ(0, nr_writes);
	resume_all();
	CHECK(wait_for(0));
	EQ(VIRTIO_BLK_S_OK, area.hva[STATUS]);
	memset(area.hva + BUFFER, 0, 0x1000);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 24, 0x1000));
	EQ(0x66, area.hva[BUFFER]);
}

/* Buffers that come while nobody is there are found. */
static void saved_buffers(void)
{
	start(RNG, 1);
	move_devices(NULL);
	desc(0)[0] = (struct vring_desc) { BUFFER, 64, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	handle_events(0);
	EQ(0, used(0)->idx);
	resume_all();
	CHECK(wait_for(0));
}

static void saved_console(void)
{
	start(CONSOLE, 2);
	memcpy(area.hva + BUFFER, "0123456789", 10);
	desc(1)[0] = (struct vring_desc) { BUFFER, 4, VRING_DESC_F_NEXT, 1 };
	desc(1)[1] = (struct vring_desc) { BUFFER + 4, 6, 0, 0 };
	nr_written = 0;
	console_takes = 5;
	make_available(1, 0);
	notify(CONSOLE, 1);
	EQ(5, nr_written);
	move_devices(NULL);
	/* Twice: what was sent is known before the chain is taken again. */
	move_devices(NULL);
	console_takes = SIZE_MAX;
	resume_all();
	CHECK(wait_for(1));
	CHECK(nr_written == 10 && !memcmp(written, "0123456789", 10));
}

/* A chain that is begun is worked off from its beginning: the same pages once more. */
static void saved_balloon(void)
{
	const __u32 size = 0x1000;

	memset(area.hva + BUFFER, 0, size);
	give_pages(0, size, 0);
	loop_run_once(&vm.io);
	CHECK(used(0)->idx != avail(0)->idx);
	nr_discards = 0;
	move_devices(NULL);
	resume_all();
	CHECK(wait_for(0));
	EQ((SIZE - 1) * size / 4, nr_discards);
}

/* One that somebody else has written to would be destroyed. */
static void saved_other_disk(void)
{
	struct state state;
	int fd;

	start(BLK, 1);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 16, 0x1000));
	state_begin_save(&state);
	name_state(&state);
	EQ(0, state_end(&state));
	destroy();
	fd = open(options.disks[0].path, O_RDWR);
	usleep(20000);
	EQ(1, pwrite(fd, "x", 1, 0));
	close(fd);
	CHECK(create_all());
	load(&state, "has been written to since");
	state_free(&state);
}

/* ---- all ------------------------------------------------------------------------------------- */

int main(void)
{
	static const struct unit_test disks[] = {
		{ "a disk keeps what is written", disk_copies },
		{ "a disk whose image becomes shorter", disk_shrinks },
		{ "a pause flushes a disk", disk_drains },
		{ "large requests in pieces", disk_does_pieces },
	};
	static const struct unit_test errors[] = {
		{ "a write waits until the host has room", disk_holds },
		{ "a reset ends the waiting", disk_resets },
		{ "a reset while a write is made", disk_resets_late },
		{ "a flush that fails is told", disk_loses },
	};
	static const struct unit_test others[] = {
		{ "a disk with sectors of 4096 bytes", disk_of_4096 },
		{ "images that are not raw", disk_formats },
		{ "receive buffers that are too small", small_buffers },
		{ "frames that are sent are counted", sent_frames },
		{ "a console's screen has a size", screen },
		{ "long chains of pages in turns", balloon_turns },
		{ "a device has its own lock", own_locks },
		{ "registers by configuration space", config_access },
		{ "buffers from before DRIVER_OK", early_buffers },
		{ "accesses that begin and end anywhere", odd_accesses },
		{ "a machine that stands still", stands_still },
		{ "a disk that is saved", saved_disk },
		{ "a write that is held and saved", saved_held },
		{ "a queue that is saved", saved_buffers },
		{ "a console that is saved while it writes", saved_console },
		{ "a balloon that is saved in a turn", saved_balloon },
		{ "a disk that was written to since", saved_other_disk },
		{ "a daemon that answers in parts, and signals", interrupted_talk },
		{ "a daemon that does not answer", silent_daemon },
		{ "a daemon that answers without being asked", talkative_daemon },
	};
	static const struct unit_test foreign[] = {
		{ "a disk in a qcow2 image", disk_of_qcow2 },
		{ "a disk that is encrypted", disk_of_luks },
		{ "disks of an NBD server", disk_of_nbd },
		{ "a disk whose server's is full or broken", disk_of_full_server },
		{ "a qcow2 image with damaged data", disk_of_bad_data },
		{ "zeros in a qcow2 image", disk_of_zeros },
		{ "a daemon that stands still, and dies", disk_of_dead_daemon },
		{ "a daemon of a machine that begins again", disk_begins_again },
	};
	static const struct unit_test limited = { "a disk that may be only so fast", disk_is_limited };
	static const struct unit_test plain = { "a disk with sectors of 512 bytes", disk_of_512 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!make_memory())
		return 1;
	printf("TAP version 13\n1..%zu\n",
	       2 * ARRAY_SIZE(disks) + ARRAY_SIZE(errors) + ARRAY_SIZE(others) + ARRAY_SIZE(foreign) + 2);
	if (!make_image(0, IMAGE_SIZE + 100) || !create_all())
		return 1;
	run_each(&plain, 1, "");
	run_each(disks, ARRAY_SIZE(disks), "");
	destroy();
	has_no_ring = true;
	if (!make_image(4096, IMAGE_SIZE + 512) || !create_all())
		return 1;
	run_each(disks, ARRAY_SIZE(disks), ", without io_uring");
	run_each(errors, ARRAY_SIZE(errors), ", without io_uring");
	run_each(others, ARRAY_SIZE(others), "");
	run_each(&limited, 1, "");
	destroy();
	strcpy(directory, "/tmp/virtio_test.XXXXXX");
	if (loop_create(&vm.io, &vm, NULL) || !mkdtemp(directory))
		return 1;
	run_each(foreign, ARRAY_SIZE(foreign), "");
	destroy();
	if (!sh("rm -r $PWD"))
		return 1;
	return nr_failed ? 1 : 0;
}
