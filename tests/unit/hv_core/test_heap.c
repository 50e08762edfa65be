/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include "hv/lib/heap.h"

#define NODES 500u

static struct heap_node nodes[NODES], *root;
static uint64_t state = 88172645463325252u;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t least(void)
{
    uint64_t key = UINT64_MAX;
    for (unsigned i = 0; i < NODES; i++)
        if (heap_holds(&nodes[i]) && nodes[i].key < key)
            key = nodes[i].key;
    return key;
}

static void the_first_is_the_least_whatever_comes_and_goes(void **unused)
{
    (void)unused;
    unsigned members = 0;
    for (unsigned round = 0; round < 200000; round++) {
        /* Phases in which it grows, and in which it is emptied. */
        struct heap_node *node = (rnd() & 3) == 0 && root != NULL ? root : &nodes[rnd() % NODES];
        bool grow = (round >> 12 & 1) == 0 || (rnd() & 3) == 0;
        if (heap_holds(node)) {
            heap_remove(&root, node);
            assert_false(heap_holds(node));
            members--;
        } else if (grow) {
            heap_insert(&root, node, (rnd() & 1) != 0 ? rnd() >> (rnd() & 63) : rnd() % 8);
            assert_true(heap_holds(node));
            members++;
        }
        assert_int_equal(root != NULL, members != 0);
        if (root != NULL && round % 16 == 0)
            assert_int_equal(root->key, least());
    }
    uint64_t last = 0;
    for (; root != NULL; members--) {
        struct heap_node *first = root;
        assert_true(first->key >= last);
        last = first->key;
        heap_remove(&root, first);
    }
    assert_int_equal(members, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_the_least_whatever_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
