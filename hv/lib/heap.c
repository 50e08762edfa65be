/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, Algorithmica 1 (1986). */
#include "hv/lib/heap.h"

/* Two roots, neither with siblings, become one. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    if (b->key < a->key) {
        struct heap_node *other = a;
        a = b;
        b = other;
    }
    b->back = a;
    b->next = a->child;
    if (b->next != NULL)
        b->next->back = b;
    a->child = b;
    return a;
}

/* The children of a node that leaves, which has some: in pairs from the first to the last, then all pairs from the last to the first. */
static struct heap_node *meld_children(struct heap_node *node)
{
    struct heap_node *left = node->child, *pairs = NULL, *root;
    while (left != NULL) {
        struct heap_node *first = left, *second = first->next;
        left = second != NULL ? second->next : NULL;
        first->next = NULL;
        if (second != NULL) {
            second->next = NULL;
            first = meld(first, second);
        }
        first->next = pairs;
        pairs = first;
    }
    root = pairs;
    pairs = root->next;
    root->next = NULL;
    while (pairs != NULL) {
        struct heap_node *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        root = meld(root, pair);
    }
    return root;
}

static void set_root(struct heap_node **root, struct heap_node *node)
{
    if (node != NULL)
        node->back = node;
    *root = node;
}

void heap_insert(struct heap_node **root, struct heap_node *node, uint64_t key)
{
    *node = (struct heap_node){.key = key};
    set_root(root, *root != NULL ? meld(*root, node) : node);
}

void heap_remove(struct heap_node **root, struct heap_node *node)
{
    struct heap_node *orphans = node->child != NULL ? meld_children(node) : NULL;
    if (node == *root) {
        set_root(root, orphans);
    } else {
        if (node->back->child == node)
            node->back->child = node->next;
        else
            node->back->next = node->next;
        if (node->next != NULL)
            node->next->back = node->back;
        if (orphans != NULL)
            set_root(root, meld(*root, orphans));
    }
    node->back = node->child = node->next = NULL;
}
