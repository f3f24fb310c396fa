// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory: slots, faults on them, the mm's changes, dirty logs.
 *
 * A slot is a piece of the VMM process's address space.  A nested fault looks into
 * the mm's page tables, has the page faulted in there if it must, and
 * copies what it finds into the nested page tables.  Nothing is pinned, and no
 * page's reference count is touched: whenever the mm's page tables are
 * about to change, the VM's MMU notifier removes the nested entries first.
 *
 * Locking:
 * - vm->lock serializes changes of the slots.
 * - The array of slots is read under RCU.  A slot that a fault uses is held by vm->srcu, which
 *   nobody holds who waits for the mm.
 * - vm->npt_lock is shared by those who add to the nested page tables (faults), and held for
 *   writing, a piece at a time, by those who take away.  With vm->ranges it orders faults
 *   and the mm's changes.  Dirty logs are changed atomically.
 * - Flushes are awaited without the lock, once a call.  Calls that take away are counted in
 *   vm->flushes until theirs is over: who finds nothing mapped does not rely on it before.
 * - With watches there are two trees (watch/watch.h).  A fault adds to one of them; what is taken
 *   away, or made read-only, is so in both.
 *
 * Not here: the format of nested page tables (npt.c), mote's own accesses (pv/access.c).
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <asm/mmu_context.h>

#include "log/log.h"
#include "trace/trace.h"
#include "vendor.h"
#include "watch/watch.h"

#ifndef CONFIG_MMU_NOTIFIER
#error "mote needs a kernel with CONFIG_MMU_NOTIFIER: many options select it, CONFIG_KVM among them"
#endif

/* A fault looks at the neighbours in an aligned block of so many pages. */
#define AROUND 64

/* ---- changes of the nested page tables ------------------------------------------- */

/* The guest's use of a page becomes the mm's: else reclaim would drop what it wrote. */
static void mem_forget_pages(u64 hpa, u64 size, bool accessed, bool dirty)
{
	unsigned long pfn = PHYS_PFN(hpa);
	unsigned long end = PHYS_PFN(hpa + size);

	/* The mm still maps the pages: its change waits for us. */
	while (pfn < end) {
		struct folio *folio = page_folio(pfn_to_page(pfn));

		if (dirty && !folio_test_dirty(folio))
			folio_mark_dirty(folio);
		if (accessed && folio_test_lru(folio))
			folio_mark_accessed(folio);
		pfn = folio_pfn(folio) + folio_nr_pages(folio);
	}
}

static u64 *mem_table_alloc(struct mote_vm *vm)
{
	u64 *table;

	if (!mote_host_charge(vm, 1))
		return NULL;
	table = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (table)
		mod_lruvec_page_state(virt_to_page(table), NR_SECONDARY_PAGETABLE, 1);
	else
		mote_host_charge(vm, -1);
	return table;
}

static void mem_table_free(struct mote_vm *vm, u64 *table)
{
	if (!table)
		return;
	mod_lruvec_page_state(virt_to_page(table), NR_SECONDARY_PAGETABLE, -1);
	free_page((unsigned long)table);
	mote_host_charge(vm, -1);
}

/* Between two pieces. */
static void mem_breathe(struct mote_vm *vm, bool may_sleep) __must_hold(&vm->npt_lock)
{
	write_unlock(&vm->npt_lock);
	if (may_sleep)
		cond_resched();
	write_lock(&vm->npt_lock);
}

/* Wait, without the lock, until no CPU uses what is gone, by whomever it was found gone. */
static void mem_end(struct mote_vm *vm, struct mote_npt_changes *changes)
	__releases(&vm->npt_lock)
{
	write_unlock(&vm->npt_lock);
	if (changes->flush || atomic_read_acquire(&vm->flushes) > 1)
		mote_vm_request(vm, MOTE_REQ_FLUSH);
	atomic_dec_return_release(&vm->flushes);
	while (changes->tables) {
		u64 *table = changes->tables;

		changes->tables = (u64 *)(unsigned long)*table;
		mem_table_free(vm, table);
	}
}

/* mote_npt_change() in each tree that there is. */
static u64 mem_npt_change(struct mote_vm *vm, u64 gpa, u64 end, u64 clear,
			  struct mote_npt_changes *changes)
{
	u64 next = mote_npt_change(&vm->npt, gpa, end, clear, changes);

	if (vm->whole.root)
		next = min(next, mote_npt_change(&vm->whole, gpa, end, clear, changes));
	return next;
}

/* Unmap a part of the guest's memory, or take bits from its leaves. */
static void mem_change(struct mote_vm *vm, u64 gpa, u64 end, u64 clear)
{
	struct mote_npt_changes changes = {};

	write_lock(&vm->npt_lock);
	atomic_inc(&vm->flushes);
	while ((gpa = mem_npt_change(vm, gpa, end, clear, &changes)) < end)
		mem_breathe(vm, true);
	mem_end(vm, &changes);
}

/* ---- the mm's changes --------------------------------------------------------------- */

/* A walk over the slots that show a range of the mm's. */
struct mem_walk {
	struct list_head list;	/* in vm->walks, if vm->npt_lock is released on the way */
	u64 start, last;
	struct interval_tree_node *node;
	u64 gpa, end;	/* what the slot at @node shows of the range */
};

/* Go to a slot; false: there is no other. */
static bool mem_walk_to(struct mem_walk *walk, struct interval_tree_node *node)
{
	struct mem_slot *slot = container_of(node, struct mem_slot, by_hva);

	walk->node = node;
	if (!node)
		return false;
	walk->gpa = slot->config.gpa + max_t(u64, walk->start, node->start) - node->start;
	walk->end = slot->config.gpa + min_t(u64, walk->last, node->last) - node->start + 1;
	return true;
}

static bool mem_walk_next(struct mem_walk *walk)
{
	return mem_walk_to(walk, interval_tree_iter_next(walk->node, walk->start, walk->last));
}

/* Unmap what shows a range of the mm's; vm->npt_lock is held for writing, and then not any more. */
static void mem_unmap_hva(struct mote_vm *vm, u64 start, u64 end, bool may_sleep)
	__releases(&vm->npt_lock)
{
	struct mem_walk walk = { .start = start, .last = end - 1 };
	struct mote_npt_changes changes = {};

	if (!mem_walk_to(&walk, interval_tree_iter_first(&vm->by_hva, start, end - 1))) {
		write_unlock(&vm->npt_lock);
		return;
	}
	atomic_inc(&vm->flushes);
	list_add(&walk.list, &vm->walks);
	while (walk.node) {
		walk.gpa = mem_npt_change(vm, walk.gpa, walk.end, MOTE_NPT_UNMAP, &changes);
		if (walk.gpa < walk.end || mem_walk_next(&walk))
			mem_breathe(vm, may_sleep);
	}
	list_del(&walk.list);
	mem_end(vm, &changes);
}

/* With vm->npt_lock held: nobody comes to this slot any more by the mm's addresses. */
static void slot_forget_hva(struct mem_slot *slot)
{
	struct mote_vm *vm = slot->vm;
	struct mem_walk *walk;

	list_for_each_entry(walk, &vm->walks, list)
		if (walk->node == &slot->by_hva)
			mem_walk_next(walk);
	interval_tree_remove(&slot->by_hva, &vm->by_hva);
}

/*
 * The mm's memory is about to change; it may as soon as this returns.  From here to the end of
 * the change no fault on it gets through.  The OOM killer's reaper, which may not sleep, is not
 * sent away: who hears of the end may not, and nobody waits for the lock but for a piece.
 */
static int mem_invalidate_start(struct mmu_notifier *notifier,
				const struct mmu_notifier_range *range)
{
	struct mote_vm *vm = container_of(notifier, struct mote_vm, notifier);

	write_lock(&vm->npt_lock);
	mote_range_begin(&vm->ranges, range->start, range->end);
	mem_unmap_hva(vm, range->start, range->end, mmu_notifier_range_blockable(range));
	return 0;
}

static void mem_invalidate_end(struct mmu_notifier *notifier,
			       const struct mmu_notifier_range *range)
{
	struct mote_vm *vm = container_of(notifier, struct mote_vm, notifier);

	write_lock(&vm->npt_lock);
	mote_range_end(&vm->ranges, range->start, range->end);
	write_unlock(&vm->npt_lock);
	if (wq_has_sleeper(&vm->changed))
		wake_up_all(&vm->changed);
}

/* No thread of the process runs any more, and so no vCPU. */
static void mem_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct mote_vm *vm = container_of(notifier, struct mote_vm, notifier);

	write_lock(&vm->npt_lock);
	mem_unmap_hva(vm, 0, ULONG_MAX, true);
}

/*
 * Has the guest used this part of the mm's memory?  No flush: a CPU that goes by its TLB
 * leaves the bit clear a little longer, as it does in the mm's own page tables.
 */
static bool mem_age(struct mmu_notifier *notifier, u64 start, u64 end, bool clear)
{
	struct mote_vm *vm = container_of(notifier, struct mote_vm, notifier);
	struct mem_walk walk = { .start = start, .last = end - 1 };
	bool young = false;

	read_lock(&vm->npt_lock);
	mem_walk_to(&walk, interval_tree_iter_first(&vm->by_hva, start, end - 1));
	for (; walk.node; mem_walk_next(&walk)) {
		young |= mote_npt_age(&vm->npt, walk.gpa, walk.end, clear);
		if (vm->whole.root)
			young |= mote_npt_age(&vm->whole, walk.gpa, walk.end, clear);
	}
	read_unlock(&vm->npt_lock);
	/* Without accessed bits it is the next fault that tells. */
	if (young && clear && !vm->npt.format->accessed) {
		write_lock(&vm->npt_lock);
		mem_unmap_hva(vm, start, end, false);
	}
	return young;
}

static int mem_clear_young(struct mmu_notifier *notifier, struct mm_struct *mm,
			   unsigned long start, unsigned long end)
{
	return mem_age(notifier, start, end, true);
}

static int mem_test_young(struct mmu_notifier *notifier, struct mm_struct *mm,
			  unsigned long hva)
{
	return mem_age(notifier, hva, hva + 1, false);
}

static const struct mmu_notifier_ops mem_notifier_ops = {
	.release = mem_release,
	.clear_flush_young = mem_clear_young,
	.clear_young = mem_clear_young,
	.test_young = mem_test_young,
	.invalidate_range_start = mem_invalidate_start,
	.invalidate_range_end = mem_invalidate_end,
};

/* ---- the mm's page tables ------------------------------------------------------------- */

/* A page of the mm: its physical address and these; 0 if it is not there. */
#define PAGE_READ BIT_ULL(0)
#define PAGE_WRITE BIT_ULL(1)

/* What may be had by get_user_pages(), DAX among it, and the zero page; not memory of devices. */
static u64 mem_page_of(pte_t pte)
{
	u64 page = (pte_val(pte) & PTE_PFN_MASK) | PAGE_READ;

	if (!pte_access_permitted(pte, false) ||
	    (pte_special(pte) && !pte_devmap(pte) && !is_zero_pfn(pte_pfn(pte))))
		return 0;
	return pte_access_permitted(pte, true) ? page | PAGE_WRITE : page;
}

/*
 * Walk the mm's page tables, with interrupts off: what they point to is not
 * freed then, as get_user_pages_fast() relies on, too.  The bits that matter
 * are the same at each level.
 *
 * Return: the level of the leaf, 0 if there is none; @leaf; at level 1 @table,
 * which points to the leaf in its table.
 */
static int mem_walk_mm(struct mm_struct *mm, unsigned long hva, pte_t *leaf, pte_t **table)
{
	pgd_t pgd = READ_ONCE(*pgd_offset(mm, hva));
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	if (pgd_none(pgd))
		return 0;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (!(p4d_flags(p4d) & _PAGE_PRESENT))
		return 0;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	*leaf = __pte(pud_val(pud));
	if (!(pud_flags(pud) & _PAGE_PRESENT) || pud_flags(pud) & _PAGE_PSE)
		return pud_flags(pud) & _PAGE_PRESENT ? 3 : 0;
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	*leaf = __pte(pmd_val(pmd));
	if (!(pmd_flags(pmd) & _PAGE_PRESENT) || pmd_flags(pmd) & _PAGE_PSE)
		return pmd_flags(pmd) & _PAGE_PRESENT ? 2 : 0;
	*table = pte_offset_kernel(&pmd, hva);
	*leaf = READ_ONCE(**table);
	return 1;
}

/* ---- faults ------------------------------------------------------------------------ */

/* A nested fault on its way. */
struct mem_fault {
	struct mote_vcpu *vcpu;
	struct mote_npt *npt;	/* the tree that it is in */
	bool watched;	/* and watches apply there */
	struct mem_slot *slot;	/* where, while vm->srcu is held */
	u64 gpa, hva;	/* of the page */
	u64 need;	/* what must be found: PAGE_READ, PAGE_WRITE */
	bool exec;	/* code is fetched */
	bool alone;	/* the first attempt has failed: no use looking around the page */
	u32 in_vain;	/* so often it was faulted in, and was not there afterwards */
	u64 seen;	/* changes of the mm that had ended then: others may not, where it is */
	int most;	/* the highest level that @level may be */
	int level;	/* of the entry that will map it */
	u64 start, end;	/* what the mm has there, as far as it will be mapped */
	u64 first;	/* gpa of the first page in @page */
	u32 nr;		/* pages in @page */
	u64 *page;	/* what the mm's page tables say, of AROUND at most; not cleared */
};

/* How large a page can map it: as in the mm, at @host, if that fits the slot. */
static int fault_level(const struct mem_fault *fault, int host)
{
	const struct mote_slot *config = &fault->slot->config;
	int level;

	if (fault->slot->dirty || (fault->exec && fault->slot->vm->npt.format->small_only))
		return 1;
	for (level = min(host, fault->most); level > 1; level--) {
		u64 size = mote_npt_size(level), base = ALIGN_DOWN(fault->gpa, size);

		if (mote_has(level == 3 ? MOTE_FEATURE_NPT_1G : MOTE_FEATURE_NPT_2M) &&
		    !((fault->gpa ^ fault->hva) & (size - 1)) &&
		    base >= config->gpa && base + size <= config->gpa + config->size &&
		    !(fault->watched && mote_watch_any(fault->slot->vm, base, size)))
			break;
	}
	return level;
}

/* The neighbours that one of the mm's tables, or large pages, and the slot have. */
static void fault_look_around(struct mem_fault *fault, int host, u64 page, const pte_t *table)
{
	const struct mote_slot *config = &fault->slot->config;
	u64 block = ALIGN_DOWN(fault->gpa, AROUND * PAGE_SIZE);
	u64 before = min(fault->gpa - config->gpa, fault->hva & (PMD_SIZE - 1));
	u64 after = min(config->gpa + config->size - fault->gpa,
			PMD_SIZE - (fault->hva & (PMD_SIZE - 1)));
	u64 end = min(block + AROUND * PAGE_SIZE, fault->gpa + after);
	u32 i;

	fault->first = max(block, fault->gpa - before);
	fault->nr = (end - fault->first) >> PAGE_SHIFT;
	fault->start = fault->hva - (fault->gpa - fault->first);
	fault->end = fault->start + fault->nr * PAGE_SIZE;
	for (i = 0; i < fault->nr; i++) {
		s64 offset = fault->first + i * PAGE_SIZE - fault->gpa;

		fault->page[i] = host > 1 ? page + offset :
				 mem_page_of(READ_ONCE(table[offset / (s64)PAGE_SIZE]));
	}
}

/* Is the page there, with the permission that is needed?  Return: 0 or -EAGAIN. */
static int fault_look(struct mem_fault *fault)
{
	pte_t leaf, *table = NULL;
	u64 page = 0;
	int host, err = -EAGAIN;

	local_irq_disable();
	host = mem_walk_mm(fault->slot->vm->mm, fault->hva, &leaf, &table);
	if (host)
		page = mem_page_of(leaf);
	/* The base of a large page has bits that say other things. */
	if (page && host > 1)
		page = (ALIGN_DOWN(page, mote_npt_size(host)) | (page & ~PAGE_MASK)) +
		       (fault->hva & (mote_npt_size(host) - 1));
	if ((page & fault->need) == fault->need) {
		err = 0;
		fault->level = fault_level(fault, host);
		fault->first = fault->gpa;
		fault->nr = 1;
		fault->page[0] = page;
		fault->start = ALIGN_DOWN(fault->hva, mote_npt_size(fault->level));
		fault->end = fault->start + mote_npt_size(fault->level);
		/* Where writes are logged, pages around have to wait for theirs. */
		if (fault->level == 1 && !fault->alone &&
		    !(slot_logs_faults(fault->slot) && fault->need & PAGE_WRITE))
			fault_look_around(fault, host, page, table);
	}
	local_irq_enable();
	return err;
}

int mem_fault_in(struct mm_struct *mm, u64 hva, bool write)
{
	u32 flags = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE |
		    (write ? FAULT_FLAG_WRITE : 0);
	struct vm_area_struct *vma;
	vm_fault_t got;

	do {
		if (mmap_read_lock_killable(mm))
			return -EINTR;
		vma = vma_lookup(mm, hva);
		if (!vma || vma->vm_flags & (VM_IO | VM_PFNMAP) ||
		    !(vma->vm_flags & (write ? VM_WRITE : VM_READ)) ||
		    !arch_vma_access_permitted(vma, write, false, false)) {
			mmap_read_unlock(mm);
			return -EFAULT;
		}
		got = handle_mm_fault(vma, hva, flags, NULL);
		if (!(got & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)))
			mmap_read_unlock(mm);
		if (got & VM_FAULT_ERROR)
			return vm_fault_to_errno(got, FOLL_HWPOISON);
		flags |= FAULT_FLAG_TRIED;
	} while (got & VM_FAULT_RETRY && !signal_pending(current));
	return got & VM_FAULT_RETRY ? -EINTR : 0;
}

/*
 * May the guest write this page from now on?  If faults log that, only the
 * page that is being written, and that is the entry in the log.
 */
static bool fault_may_write(const struct mem_fault *fault, u64 gpa, u64 page)
{
	const struct mem_slot *slot = fault->slot;

	if (!(page & PAGE_WRITE) || slot->config.flags & MOTE_SLOT_READONLY)
		return false;
	if (!slot_logs_faults(slot))
		return true;
	if (gpa != fault->gpa || !(fault->need & PAGE_WRITE))
		return false;
	slot_log(slot, fault->vcpu, gpa);
	return true;
}

/* Write the entries beside others who do: 0, -ENOMEM (@cache is empty), -EEXIST (no room). */
static int fault_install(struct mem_fault *fault, struct mote_npt_cache *cache)
{
	u64 *entry, mask = ~(mote_npt_size(fault->level) - 1);
	u32 i, watched = 0;
	int err;

	err = mote_npt_entry(fault->npt, cache, fault->first, fault->level, &entry);
	for (i = 0; !err && i < fault->nr; i++) {
		u64 page = fault->page[i];
		u64 gpa = fault->first + i * PAGE_SIZE;
		u32 flags;

		if (fault->watched && fault->level == 1)
			watched = mote_watch_of(fault->slot->vm, gpa);
		if (!page || watched & MOTE_ACCESS_READ)
			continue;
		flags = watched & MOTE_ACCESS_EXEC ? MOTE_NPT_NO_CODE : 0;
		if (!(watched & MOTE_ACCESS_WRITE) && fault_may_write(fault, gpa, page))
			flags |= MOTE_NPT_WRITE;
		if (!mote_npt_map(fault->npt, entry + i, fault->level, page & mask, flags) &&
		    (fault->level > 1 || gpa == fault->gpa))
			err = -EEXIST;
	}
	return err;
}

/* An attempt.  Return: as above, -EBUSY (the mm changes there), -ENXIO, -EDQUOT, or 0. */
static int fault_once(struct mote_vm *vm, struct mem_fault *fault, struct mote_npt_cache *cache)
{
	struct mem_slot *slot;
	int err;

	rcu_read_lock();
	slot = slot_find(vm, fault->gpa);
	rcu_read_unlock();
	if (!slot || (fault->need & PAGE_WRITE && slot->config.flags & MOTE_SLOT_READONLY))
		return -ENXIO;
	fault->slot = slot;
	fault->npt = fault->vcpu->view ? &vm->whole : &vm->npt;
	fault->watched = !fault->vcpu->view && READ_ONCE(vm->nr_watched);
	fault->hva = fault->gpa - slot->config.gpa + slot->config.hva;
	/* A quota of 0 is none. */
	if (slot_logs_faults(slot) && fault->need & PAGE_WRITE &&
	    READ_ONCE(fault->vcpu->run->dirty_pages) > READ_ONCE(fault->vcpu->run->dirty_quota) - 1)
		return -EDQUOT;
	fault->seen = smp_load_acquire(&vm->ranges.ended); /* pairs with mote_range_end() */
	err = fault_look(fault);
	if (err)
		return err;
	read_lock(&vm->npt_lock);
	if (mote_range_changes(&vm->ranges, fault->seen, fault->start, fault->end))
		err = -EBUSY;
	else
		err = fault_install(fault, cache);
	read_unlock(&vm->npt_lock);
	return err;
}

/* Do what the next attempt needs; all that may take long is here.  Return: 0 or the end. */
static int fault_prepare(struct mote_vm *vm, struct mem_fault *fault, struct mote_npt_cache *cache,
			 int err)
{
	switch (err) {
	case -EAGAIN:
		/* What is there every time, but not to be had, never will be. */
		return fault->in_vain++ == 64 ? -EFAULT :
		       mem_fault_in(vm->mm, fault->hva, fault->need & PAGE_WRITE);
	case -EBUSY:
		return wait_event_interruptible(vm->changed,
						READ_ONCE(vm->ranges.ended) != fault->seen);
	case -EEXIST:
		/* Tables stay: a large page goes to where there are none. */
		if (fault->level > 1)
			fault->most = fault->level - 1;
		else
			mem_change(vm, fault->gpa, fault->gpa + PAGE_SIZE, MOTE_NPT_UNMAP);
		return 0;
	case -ENOMEM:
		/* Most faults need no table: they are allocated when it turns out that one does. */
		while (cache->nr < ARRAY_SIZE(cache->table)) {
			cache->table[cache->nr] = mem_table_alloc(vm);
			if (!cache->table[cache->nr++])
				return -ENOMEM;
		}
		return 0;
	default:
		return err;
	}
}

int mote_mem_fault(struct mote_vcpu *vcpu, u64 gpa, u32 access, u64 *hva)
{
	u64 pages[AROUND];
	struct mem_fault fault = {
		.vcpu = vcpu,
		.page = pages,
		.gpa = gpa & PAGE_MASK,
		.need = PAGE_READ | (access & MOTE_ACCESS_WRITE ? PAGE_WRITE : 0),
		.exec = access & MOTE_ACCESS_EXEC,
		.most = MOTE_NPT_LEVELS - 1,
	};
	struct mote_npt_cache cache = {};
	struct mote_vm *vm = vcpu->vm;
	int err, index;

	for (;;) {
		index = srcu_read_lock(&vm->srcu);
		err = fault_once(vm, &fault, &cache);
		srcu_read_unlock(&vm->srcu, index);
		if (!err)
			break;
		err = fault_prepare(vm, &fault, &cache, err);
		if (err || signal_pending(current))
			break;
		fault.alone = true;
		cond_resched();
	}
	/* Of a signal that is not fatal the guest comes back, and so does the fault. */
	if (err == -EINTR || err == -ERESTARTSYS)
		err = fatal_signal_pending(current) ? -EINTR : 0;
	while (cache.nr)
		mem_table_free(vm, cache.table[--cache.nr]);
	*hva = fault.hva + offset_in_page(gpa);
	if (err != -ENXIO)
		trace_mote_nested_fault(vm->id, vcpu->id, gpa, access, fault.level, fault.nr, err);
	return err;
}

/* ---- watches ------------------------------------------------------------------------- */

int mote_mem_make_whole(struct mote_vm *vm)
{
	u64 *root;

	if (vm->whole.root)
		return 0;
	root = mem_table_alloc(vm);
	if (!root)
		return -ENOMEM;
	write_lock(&vm->npt_lock);
	mote_npt_init(&vm->whole, mote_ops->npt_format, root);
	write_unlock(&vm->npt_lock);
	return 0;
}

void mote_mem_rewatch(struct mote_vm *vm, u64 gpa, u64 size)
{
	/* Faults that did not see the new watches are over. */
	synchronize_srcu_expedited(&vm->srcu);
	mem_change(vm, gpa, gpa + size, MOTE_NPT_UNMAP);
}

/* ---- slots --------------------------------------------------------------------------- */

static int slot_check_config(const struct mote_slot *config)
{
	u64 gpa_end = 1ULL << min_t(u32, mote_host.gpa_bits, MOTE_NPT_BITS);

	if (config->slot >= MOTE_MAX_SLOTS)
		return -EINVAL;
	if (!config->size)
		return config->flags || config->gpa || config->hva ? -EINVAL : 0;
	if (config->flags & ~(MOTE_SLOT_READONLY | MOTE_SLOT_LOG_DIRTY))
		return -EINVAL;
	if ((config->gpa | config->size | config->hva) & ~PAGE_MASK)
		return -EINVAL;
	if (config->gpa >= gpa_end || config->size > gpa_end - config->gpa)
		return -EINVAL;
	/* Whether there is memory, a fault will tell; it must be user space's to have. */
	if (config->hva >= TASK_SIZE || config->size > TASK_SIZE - config->hva)
		return -EINVAL;
	return 0;
}

static bool slot_is_same_memory(const struct mem_slot *slot, const struct mote_slot *config)
{
	return slot->config.gpa == config->gpa && slot->config.size == config->size &&
	       slot->config.hva == config->hva;
}

/* The log of a slot, in pages. */
static long slot_log_pages(const struct mem_slot *slot)
{
	return DIV_ROUND_UP(slot->config.size >> PAGE_SHIFT, 8 * PAGE_SIZE);
}

static void slot_count_log(struct mote_vm *vm, int nr)
{
	WRITE_ONCE(vm->nr_logs, vm->nr_logs + nr);
	mote_vm_request(vm, MOTE_REQ_FLUSH);
}

/* When nobody finds it any more and nothing of it is mapped; @other may have its log. */
static void slot_free(struct mem_slot *slot, const struct mem_slot *other)
{
	if (slot->dirty && (!other || other->dirty != slot->dirty)) {
		mote_host_charge(slot->vm, -slot_log_pages(slot));
		kvfree(slot->dirty);
		slot_count_log(slot->vm, -1);
	}
	kfree_rcu(slot, rcu);
}

/* A new slot; it takes over the log of @old, the one that it replaces, if it can. */
static struct mem_slot *slot_create(struct mote_vm *vm, const struct mote_slot *config,
				    const struct mem_slot *old)
{
	struct mem_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	bool log = config->flags & MOTE_SLOT_LOG_DIRTY;

	if (!slot)
		return ERR_PTR(-ENOMEM);
	slot->vm = vm;
	slot->config = *config;
	if (log && old && slot_is_same_memory(old, config))
		slot->dirty = old->dirty;
	if (log && !slot->dirty && mote_host_charge(vm, slot_log_pages(slot))) {
		slot->dirty = kvcalloc(BITS_TO_LONGS(config->size >> PAGE_SHIFT), sizeof(long),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!slot->dirty)
			mote_host_charge(vm, -slot_log_pages(slot));
	}
	if (log && !slot->dirty) {
		slot_free(slot, old);
		return ERR_PTR(-ENOMEM);
	}
	if (log && (!old || slot->dirty != old->dirty))
		slot_count_log(vm, 1);
	slot->by_hva.start = config->hva;
	slot->by_hva.last = config->hva + config->size - 1;
	write_lock(&vm->npt_lock);
	interval_tree_insert(&slot->by_hva, &vm->by_hva);
	write_unlock(&vm->npt_lock);
	return slot;
}

/* After @in, or nothing, has been published in the place of @out. */
static void slot_retire(struct mem_slot *out, const struct mem_slot *in)
{
	const struct mote_slot *config = &out->config;
	u32 flags = in ? in->config.flags : 0;
	struct mote_vm *vm = out->vm;

	/* Faults that found it are over, and there will be no others. */
	if (vm->nr_vcpus)
		synchronize_srcu_expedited(&vm->srcu);
	/* Without a log, large pages can come back: by faults. */
	if (!in || !slot_is_same_memory(out, &in->config) ||
	    config->flags & ~flags & MOTE_SLOT_LOG_DIRTY)
		mem_change(vm, config->gpa, config->gpa + config->size, MOTE_NPT_UNMAP);
	else if (flags & ~config->flags)
		mem_change(vm, config->gpa, config->gpa + config->size,
			   vm->npt.format->write | vm->npt.format->log);
	write_lock(&vm->npt_lock);
	slot_forget_hva(out);
	write_unlock(&vm->npt_lock);
	slot_free(out, in);
}

/* Fill @slots with those of @old, less @out, plus @in. */
static void slots_fill(struct mote_slots *slots, const struct mote_slots *old,
		       const struct mem_slot *out, struct mem_slot *in)
{
	u32 i;

	for (i = 0; i < old->nr; i++) {
		if (in && in->config.gpa < old->slot[i]->config.gpa) {
			slots->slot[slots->nr++] = in;
			in = NULL;
		}
		if (old->slot[i] != out)
			slots->slot[slots->nr++] = old->slot[i];
	}
	if (in)
		slots->slot[slots->nr++] = in;
}

static struct mote_slots *slots_of(struct mote_vm *vm)
{
	return rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->lock));
}

static struct mem_slot *slot_by_number(const struct mote_slots *slots, u32 number)
{
	u32 i;

	for (i = 0; i < slots->nr; i++)
		if (slots->slot[i]->config.slot == number)
			return slots->slot[i];
	return NULL;
}

static bool slots_are_free_at(const struct mote_slots *slots, const struct mote_slot *config)
{
	u32 i;

	for (i = 0; i < slots->nr; i++) {
		const struct mote_slot *other = &slots->slot[i]->config;

		if (other->slot != config->slot && other->gpa < config->gpa + config->size &&
		    config->gpa < other->gpa + other->size)
			return false;
	}
	return true;
}

static int slot_set(struct mote_vm *vm, const struct mote_slot *config)
{
	struct mote_slots *old = slots_of(vm), *slots;
	struct mem_slot *out = slot_by_number(old, config->slot), *in = NULL;

	if (!config->size && !out)
		return -ENOENT;
	if (!slots_are_free_at(old, config))
		return -EEXIST;
	if (out && slot_is_same_memory(out, config) && out->config.flags == config->flags)
		return 0;
	slots = kzalloc(struct_size(slots, slot, old->nr + 1), GFP_KERNEL_ACCOUNT);
	if (!slots)
		return -ENOMEM;
	if (config->size)
		in = slot_create(vm, config, out);
	if (IS_ERR(in)) {
		kfree(slots);
		return PTR_ERR(in);
	}
	slots_fill(slots, old, out, in);
	rcu_assign_pointer(vm->slots, slots);
	kfree_rcu(old, rcu);
	if (out)
		slot_retire(out, in);
	return 0;
}

int mote_mem_set_slot(struct mote_vm *vm, const struct mote_slot *config)
{
	int err = slot_check_config(config);

	if (err)
		return err;
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	err = slot_set(vm, config);
	mutex_unlock(&vm->lock);
	return err;
}

/* ---- dirty logs ------------------------------------------------------------------------ */

/* Move a part of the log, word by word, of which most have nothing; its pages are noticed again. */
static void slot_take_log(struct mem_slot *slot, u64 first, u64 nr, u64 *words)
{
	u64 gpa = slot->config.gpa + first * PAGE_SIZE, end = gpa + nr * PAGE_SIZE;
	unsigned long *log = slot->dirty + first / 64, mask, old;
	u64 i, log_bit = slot->vm->npt.format->log;
	struct mote_npt_changes changes = {};
	struct mote_vm *vm = slot->vm;

	/* What CPUs have noticed until now they tell at their exits. */
	if (!slot_logs_faults(slot))
		mote_vm_request(vm, MOTE_REQ_EVENT);
	write_lock(&vm->npt_lock);
	atomic_inc(&vm->flushes);
	for (i = 0; gpa < end; i++, gpa += 64 * PAGE_SIZE) {
		if (i % 64 == 63)
			mem_breathe(vm, true);
		old = READ_ONCE(log[i]);
		words[i] = old;
		if (!old)
			continue;
		mask = end - gpa >= 64 * PAGE_SIZE ? ~0UL : BIT_ULL((end - gpa) >> PAGE_SHIFT) - 1;
		while (old & mask && !try_cmpxchg(&log[i], &old, old & ~mask))
			;
		words[i] = old & mask;
		mem_npt_change(vm, gpa, min(gpa + 64 * PAGE_SIZE, end), log_bit, &changes);
	}
	mem_end(vm, &changes);
}

int mote_mem_get_dirty(struct mote_vm *vm, const struct mote_dirty *dirty, u64 *words)
{
	struct mem_slot *slot;
	u64 pages;
	int err = 0;

	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	slot = slot_by_number(slots_of(vm), dirty->slot);
	pages = slot ? slot->config.size >> PAGE_SHIFT : 0;
	if (!slot)
		err = -ENOENT;
	else if (!slot->dirty || dirty->first % 64 || dirty->first >= pages ||
		 dirty->nr > pages - dirty->first)
		err = -EINVAL;
	else
		slot_take_log(slot, dirty->first, dirty->nr, words);
	mutex_unlock(&vm->lock);
	return err;
}

/* ---- a VM's memory as a whole ------------------------------------------------------------ */

int mote_mem_init(struct mote_vm *vm)
{
	struct mote_slots *slots = kzalloc(sizeof(*slots), GFP_KERNEL_ACCOUNT);
	u64 *root = mem_table_alloc(vm);
	int err = -ENOMEM;

	if (!slots || !root)
		goto err_free;
	RCU_INIT_POINTER(vm->slots, slots);
	rwlock_init(&vm->npt_lock);
	INIT_LIST_HEAD(&vm->walks);
	init_waitqueue_head(&vm->changed);
	vm->by_hva = RB_ROOT_CACHED;
	vm->npt.forget = mem_forget_pages;
	vm->whole.forget = mem_forget_pages;
	mote_npt_init(&vm->npt, mote_ops->npt_format, root);
	vm->notifier.ops = &mem_notifier_ops;
	err = mmu_notifier_register(&vm->notifier, vm->mm);
	if (!err)
		return 0;
err_free:
	kfree(slots);
	mem_table_free(vm, root);
	return err;
}

/* No vCPU runs any more; the mm's memory may be gone, or not: then it is unmapped here. */
void mote_mem_destroy(struct mote_vm *vm)
{
	struct mote_slots *slots = rcu_dereference_protected(vm->slots, true);
	u32 i;

	mmu_notifier_unregister(&vm->notifier, vm->mm);
	for (i = 0; i < slots->nr; i++)
		slot_free(slots->slot[i], NULL);
	kfree(slots);
	mem_table_free(vm, vm->npt.root);
	mem_table_free(vm, vm->whole.root);
}
