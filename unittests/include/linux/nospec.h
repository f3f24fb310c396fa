/* SPDX-License-Identifier: GPL-2.0 */
/* Nothing is speculated about here. */
#define array_index_nospec(index, size) ((index) < (size) ? (index) : 0)
