// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory: slots, faults on them, the mm's changes, dirty logs.
 *
 * A slot is a piece of the VMM process's address space.  A nested fault looks into
 * the mm's page tables, has the page faulted in there if it must, and
 * copies what it finds into the nested page tables.  Nothing is pinned, and no
 * page's reference count is touched: whenever the mm's page tables are
 * about to change, the slot's MMU notifier removes the nested entries first.
 *
 * Locking:
 * - vm->lock serializes changes of the slots.
 * - The array of slots is read under RCU.  A slot that sleeping code uses is
 *   held by vm->srcu.
 * - vm->npt_lock guards nested page tables and dirty logs, and with a slot's
 *   notifier orders faults and the mm's changes.  It is never released
 *   while a flush is owed: whoever finds nothing mapped under it may rely on
 *   no CPU holding a translation either.
 *
 * Not here: the format of nested page tables (npt.c), mote's own accesses (access.c).
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "mem.h"
#include "trace/trace.h"
#include "vendor.h"

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

/* Before vm->npt_lock is released: wait until no CPU uses what is gone. */
static void mem_flush_and_free(struct mote_vm *vm, struct mote_npt_changes *changes)
{
	lockdep_assert_held(&vm->npt_lock);
	if (changes->flush)
		mote_vm_request(vm, MOTE_REQ_FLUSH);
	while (changes->tables) {
		u64 *table = changes->tables;

		changes->tables = (u64 *)(unsigned long)*table;
		free_page((unsigned long)table);
	}
	changes->flush = false;
}

/* Unmap or protect a range, piece by piece; the lock is released between if @yield. */
static void mem_change_range(struct mote_vm *vm, u64 start, u64 end, bool protect, bool yield)
{
	struct mote_npt_changes changes = {};

	for (;;) {
		start = mote_npt_change(&vm->npt, start, end, protect, &changes);
		mem_flush_and_free(vm, &changes);
		if (start >= end)
			break;
		if (yield)
			cond_resched_lock(&vm->npt_lock);
	}
}

static void slot_change(const struct mem_slot *slot, bool protect)
{
	const struct mote_slot *config = &slot->config;

	spin_lock(&slot->vm->npt_lock);
	mem_change_range(slot->vm, config->gpa, config->gpa + config->size, protect, true);
	spin_unlock(&slot->vm->npt_lock);
}

/* The mm's memory is about to change; it may as soon as this returns. */
static bool slot_invalidate(struct mmu_interval_notifier *notifier,
			    const struct mmu_notifier_range *range, unsigned long seq)
{
	struct mem_slot *slot = container_of(notifier, struct mem_slot, notifier);
	const struct mote_slot *config = &slot->config;
	u64 start = max_t(u64, range->start, config->hva) - config->hva;
	u64 end = min_t(u64, range->end, config->hva + config->size) - config->hva;
	struct mote_vm *vm = slot->vm;

	spin_lock(&vm->npt_lock);
	/* From here to the end of the mm's change no fault of this slot gets through. */
	mmu_interval_set_seq(notifier, seq);
	mem_change_range(vm, config->gpa + start, config->gpa + end, false,
			 mmu_notifier_range_blockable(range));
	spin_unlock(&vm->npt_lock);
	return true;
}

static const struct mmu_interval_notifier_ops slot_notifier_ops = {
	.invalidate = slot_invalidate,
};

/* ---- the mm's page tables ------------------------------------------------------------- */

/* A page of the mm: its physical address and these; 0 if it is not there. */
#define PAGE_READ BIT_ULL(0)
#define PAGE_WRITE BIT_ULL(1)

/* What may be had by get_user_pages(), and the zero page; not memory of devices. */
static u64 mem_page_of(pte_t pte)
{
	u64 page = (pte_val(pte) & PTE_PFN_MASK) | PAGE_READ;

	if (!pte_access_permitted(pte, false) || (pte_special(pte) && !is_zero_pfn(pte_pfn(pte))))
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
	struct mem_slot *slot;	/* where */
	u64 gpa;	/* of the page */
	u64 hva;	/* of the page */
	u64 need;	/* what must be found: PAGE_READ, PAGE_WRITE */
	bool exec;	/* code is fetched */
	bool alone;	/* the page was not there at first: no use looking around it */
	unsigned long seq;	/* of the notifier: what was found is good while this is current */
	int level;	/* of the entry that will map it */
	u64 first;	/* gpa of the first page in @page */
	u32 nr;		/* pages in @page */
	u64 page[AROUND];	/* what the mm's page tables say */
};

/* How large a page can map it: as in the mm, at @host, if that fits the slot. */
static int fault_level(const struct mem_fault *fault, int host)
{
	const struct mote_slot *config = &fault->slot->config;
	int level;

	if (fault->slot->dirty || (fault->exec && fault->slot->vm->npt.format->small_only))
		return 1;
	for (level = host; level > 1; level--) {
		u64 size = mote_npt_size(level), base = ALIGN_DOWN(fault->gpa, size);

		if (mote_has(level == 3 ? MOTE_FEATURE_NPT_1G : MOTE_FEATURE_NPT_2M) &&
		    !((fault->gpa ^ fault->hva) & (size - 1)) &&
		    base >= config->gpa && base + size <= config->gpa + config->size)
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
	for (i = 0; i < fault->nr; i++) {
		s64 offset = fault->first + i * PAGE_SIZE - fault->gpa;

		fault->page[i] = host > 1 ? page + offset :
				 mem_page_of(READ_ONCE(table[offset / (s64)PAGE_SIZE]));
	}
}

/* Return: is the page there, with the permission that is needed? */
static bool fault_look(struct mem_fault *fault)
{
	pte_t leaf, *table = NULL;
	u64 page = 0;
	int host;

	local_irq_disable();
	host = mem_walk_mm(fault->slot->vm->mm, fault->hva, &leaf, &table);
	if (host)
		page = mem_page_of(leaf);
	/* The base of a large page has bits that say other things. */
	if (page && host > 1)
		page = (ALIGN_DOWN(page, mote_npt_size(host)) | (page & ~PAGE_MASK)) +
		       (fault->hva & (mote_npt_size(host) - 1));
	if ((page & fault->need) == fault->need) {
		fault->level = fault_level(fault, host);
		fault->first = fault->gpa;
		fault->nr = 1;
		fault->page[0] = page;
		/* Where writes are logged, pages around have to wait for theirs. */
		if (fault->level == 1 && !fault->alone &&
		    !(fault->slot->dirty && fault->need & PAGE_WRITE))
			fault_look_around(fault, host, page, table);
	}
	local_irq_enable();
	return (page & fault->need) == fault->need;
}

/*
 * Have the page faulted in.  The first time that is all; when the page is not
 * there after that, the slower way tells why.
 */
static int fault_in(struct mem_fault *fault)
{
	bool write = fault->need & PAGE_WRITE, unlocked;
	struct mm_struct *mm = fault->slot->vm->mm;
	struct page *page;
	long got;

	if (!fault->alone) {
		fault->alone = true;
		if (mmap_read_lock_killable(mm))
			return -EINTR;
		fixup_user_fault(mm, fault->hva, write ? FAULT_FLAG_WRITE : 0, &unlocked);
		mmap_read_unlock(mm);
		return -EBUSY;
	}
	got = get_user_pages_unlocked(fault->hva, 1, &page,
				      FOLL_HWPOISON | (write ? FOLL_WRITE : 0));
	if (got == 1)
		put_page(page);
	return got == 1 || got == -EAGAIN ? -EBUSY : got;
}

/*
 * May the guest write this page from now on?  If writes are logged, only the
 * page that is being written, and that is the entry in the log.
 */
static bool fault_may_write(const struct mem_fault *fault, u64 gpa, u64 page)
{
	const struct mem_slot *slot = fault->slot;

	if (!(page & PAGE_WRITE) || slot->config.flags & MOTE_SLOT_READONLY)
		return false;
	if (!slot->dirty)
		return true;
	if (gpa != fault->gpa || !(fault->need & PAGE_WRITE))
		return false;
	__set_bit((gpa - slot->config.gpa) >> PAGE_SHIFT, slot->dirty);
	return true;
}

/* Return: 0, -EBUSY (the mm's memory has changed), -ENOMEM (@cache is empty). */
static int fault_install(struct mem_fault *fault, struct mote_npt_cache *cache)
{
	struct mote_vm *vm = fault->slot->vm;
	struct mote_npt_changes changes = {};
	u64 *entry, mask = ~(mote_npt_size(fault->level) - 1);
	int err = -EBUSY;
	u32 i;

	spin_lock(&vm->npt_lock);
	if (mmu_interval_read_retry(&fault->slot->notifier, fault->seq))
		goto out;
	entry = mote_npt_entry(&vm->npt, cache, fault->first, fault->level, &changes);
	err = entry ? 0 : -ENOMEM;
	for (i = 0; entry && i < fault->nr; i++) {
		u64 page = fault->page[i];
		u64 gpa = fault->first + i * PAGE_SIZE;

		if (page)
			mote_npt_map(&vm->npt, entry + i, fault->level, page & mask,
				     fault_may_write(fault, gpa, page), &changes);
	}
	mem_flush_and_free(vm, &changes);
out:
	spin_unlock(&vm->npt_lock);
	return err;
}

static int mem_cache_fill(struct mote_npt_cache *cache)
{
	while (cache->nr < ARRAY_SIZE(cache->table)) {
		u64 *table = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

		if (!table)
			return -ENOMEM;
		cache->table[cache->nr++] = table;
	}
	return 0;
}

static int fault_once(struct mem_fault *fault, struct mote_npt_cache *cache)
{
	int err;

	fault->seq = mmu_interval_read_begin(&fault->slot->notifier);
	if (!fault_look(fault))
		return fault_in(fault);
	err = fault_install(fault, cache);
	if (err != -ENOMEM)
		return err;
	/* Most faults need no table: they are allocated when it turns out that one does. */
	err = mem_cache_fill(cache);
	return err ?: fault_install(fault, cache);
}

static int fault_handle(struct mote_vcpu *vcpu, struct mem_slot *slot, u64 gpa, u32 access,
			u64 *hva)
{
	struct mem_fault fault = {
		.slot = slot,
		.gpa = gpa & PAGE_MASK,
		.hva = (gpa & PAGE_MASK) - slot->config.gpa + slot->config.hva,
		.need = PAGE_READ | (access & MOTE_ACCESS_WRITE ? PAGE_WRITE : 0),
		.exec = access & MOTE_ACCESS_EXEC,
	};
	struct mote_npt_cache cache = {};
	int err;

	for (;;) {
		err = fault_once(&fault, &cache);
		if (err != -EBUSY)
			break;
		if (signal_pending(current)) {
			/* Of one that is not fatal the guest comes back. */
			err = fatal_signal_pending(current) ? -EINTR : 0;
			break;
		}
		cond_resched();
	}
	while (cache.nr)
		free_page((unsigned long)cache.table[--cache.nr]);
	*hva = fault.hva + offset_in_page(gpa);
	trace_mote_nested_fault(slot->vm->id, vcpu->id, gpa, access, fault.level, fault.nr, err);
	return err;
}

int mote_mem_fault(struct mote_vcpu *vcpu, u64 gpa, u32 access, u64 *hva)
{
	struct mote_vm *vm = vcpu->vm;
	int index = srcu_read_lock(&vm->srcu);
	struct mem_slot *slot;
	int err = -ENXIO;

	rcu_read_lock();
	slot = slot_find(vm, gpa);
	rcu_read_unlock();
	if (slot && !(access & MOTE_ACCESS_WRITE && slot->config.flags & MOTE_SLOT_READONLY))
		err = fault_handle(vcpu, slot, gpa, access, hva);
	srcu_read_unlock(&vm->srcu, index);
	return err;
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

/* When nobody finds it any more and nothing of it is mapped; @other may have its log. */
static void slot_free(struct mem_slot *slot, const struct mem_slot *other)
{
	if (!other || other->dirty != slot->dirty)
		kvfree(slot->dirty);
	kfree_rcu(slot, rcu);
}

/* A new slot; it takes over the log of @old, the one that it replaces, if it can. */
static struct mem_slot *slot_create(struct mote_vm *vm, const struct mote_slot *config,
				    const struct mem_slot *old)
{
	struct mem_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	bool log = config->flags & MOTE_SLOT_LOG_DIRTY;
	int err = -ENOMEM;

	if (!slot)
		return ERR_PTR(err);
	slot->vm = vm;
	slot->config = *config;
	if (log && old && slot_is_same_memory(old, config))
		slot->dirty = old->dirty;
	if (log && !slot->dirty)
		slot->dirty = kvcalloc(BITS_TO_LONGS(config->size >> PAGE_SHIFT), sizeof(long),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!log || slot->dirty)
		err = mmu_interval_notifier_insert(&slot->notifier, vm->mm, config->hva,
						   config->size, &slot_notifier_ops);
	if (!err)
		return slot;
	slot_free(slot, old);
	return ERR_PTR(err);
}

/* After @in, or nothing, has been published in the place of @out. */
static void slot_retire(struct mem_slot *out, const struct mem_slot *in)
{
	u32 flags = in ? in->config.flags : 0;

	/* Faults that found it are over, and there will be no others. */
	if (out->vm->nr_vcpus)
		synchronize_srcu_expedited(&out->vm->srcu);
	/* Without a log, large pages can come back: by faults. */
	if (!in || !slot_is_same_memory(out, &in->config) ||
	    out->config.flags & ~flags & MOTE_SLOT_LOG_DIRTY)
		slot_change(out, false);
	else if (flags & ~out->config.flags)
		slot_change(out, true);
	mmu_interval_notifier_remove(&out->notifier);
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

/* Move a part of the log, word by word; its pages become read-only. */
static void slot_take_log(struct mem_slot *slot, u64 first, u64 nr, u64 *words)
{
	u64 gpa = slot->config.gpa + first * PAGE_SIZE, end = gpa + nr * PAGE_SIZE;
	unsigned long *log = slot->dirty + first / 64;
	struct mote_npt_changes changes = {};
	struct mote_vm *vm = slot->vm;
	u64 i, left, mask;

	spin_lock(&vm->npt_lock);
	for (i = 0; gpa < end; i++, gpa += 64 * PAGE_SIZE) {
		left = (end - gpa) >> PAGE_SHIFT;
		mask = left < 64 ? BIT_ULL(left) - 1 : ~0ULL;
		words[i] = log[i] & mask;
		log[i] &= ~mask;
		if (words[i])
			mote_npt_change(&vm->npt, gpa, min(gpa + 64 * PAGE_SIZE, end), true,
					&changes);
		if (i % 64 == 63) {
			mem_flush_and_free(vm, &changes);
			cond_resched_lock(&vm->npt_lock);
		}
	}
	mem_flush_and_free(vm, &changes);
	spin_unlock(&vm->npt_lock);
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
	u64 *root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

	if (!slots || !root) {
		kfree(slots);
		free_page((unsigned long)root);
		return -ENOMEM;
	}
	RCU_INIT_POINTER(vm->slots, slots);
	vm->npt.forget = mem_forget_pages;
	mote_npt_init(&vm->npt, mote_ops->npt_format, root);
	return 0;
}

/* No vCPU runs any more; the mm's memory may be gone, or not. */
void mote_mem_destroy(struct mote_vm *vm)
{
	struct mote_slots *slots = rcu_dereference_protected(vm->slots, true);
	struct mote_npt_changes changes = {};
	u32 i;

	for (i = 0; i < slots->nr; i++) {
		slot_change(slots->slot[i], false);
		mmu_interval_notifier_remove(&slots->slot[i]->notifier);
		slot_free(slots->slot[i], NULL);
	}
	kfree(slots);
	spin_lock(&vm->npt_lock);
	mote_npt_clear(&vm->npt, &changes);
	mem_flush_and_free(vm, &changes);
	spin_unlock(&vm->npt_lock);
}
