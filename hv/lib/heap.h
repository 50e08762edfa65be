/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A priority queue of nodes that live in what they queue (a pairing heap): no memory of its own. Inserting takes one
 * comparison, removing a logarithmic number of them, averaged over all operations on the heap. */
#ifndef SEVISOR_HEAP_H
#define SEVISOR_HEAP_H

#include "hv/lib/types.h"

/* All zeros: in no heap. */
struct heap_node {
    uint64_t key;
    struct heap_node *child, *next;     /* the first child, the next sibling */
    struct heap_node *back;             /* the sibling before, or the parent of a first child; the root's is itself */
};

/* `*root` is the node with the least key, NULL when the heap is empty. */
void heap_insert(struct heap_node **root, struct heap_node *node, uint64_t key);
void heap_remove(struct heap_node **root, struct heap_node *node);

static inline bool heap_holds(const struct heap_node *node)
{
    return node->back != NULL;
}

#endif
