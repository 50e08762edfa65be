/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Requests of the control guest: a table of operations, one request at a time; and events, found by looking. */
#include "hv/control/control.h"

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/control/control_debug.h"
#include "hv/control/control_firmware.h"
#include "hv/control/control_info.h"
#include "hv/control/control_state.h"
#include "hv/control/leak.h"
#include "hv/control/lifecycle.h"
#include "hv/control/sev.h"
#include "hv/lib/text.h"
#include "hv/mm/window.h"
#include "hv/vm/debug.h"
#include "hv/vm/ipi.h"

/* What the control guest knows of a guest; the last one is hv's log. */
struct told {
    uint32_t state;
    bool console;   /* that bytes came */
    uint64_t read;  /* position up to which it has read them */
};

static struct {
    struct guest *guest;    /* NULL: no window */
    uint8_t *window;
    bool window_given;      /* to a command that was never answered: the SEV firmware may still write */
    uint8_t vector;         /* 0: none */
    uint32_t sequence;      /* as the doorbell has it */
    uint32_t events;        /* ever written */
    struct job job;
    struct control_call call;
    struct told told[GUEST_MAX + 1];
} control;

/* ---- the window ---- */

bool control_open(struct guest *guest)
{
    if (!extent_alloc(SIZE_2M, &guest->window))
        return false;
    control.window = window_map(guest->window.base, SIZE_2M, VIEW_PLAIN);
    if (control.window == NULL ||
        !npt_map(&guest->npt, gpaddr(CONTROL_WINDOW), guest->window.base, CONTROL_WINDOW_SIZE, VIEW_PLAIN))
        return false;
    memset(control.window, 0, SIZE_2M);
    *(struct control_header *)control.window = (struct control_header){CONTROL_MAGIC, CONTROL_VERSION, 0, 0};
    memset(control.told, 0, sizeof(control.told));
    control.vector = 0;
    control.events = 0;
    control.guest = guest;
    guest->doorbell = 0;
    return true;
}

/* A guest that the control guest has paused, or lets step, goes on. False: not yet. */
static bool let_go(struct guest *guest)
{
    if (guest->state != GUEST_RUNNING || guest_is_ending(guest))
        return true;
    bool steps = false;
    for (uint32_t i = 0; i < guest->config->vcpus; i++)
        steps |= __atomic_load_n(&guest->vcpus[i]->step, __ATOMIC_ACQUIRE) != STEP_NONE;
    if (!guest->paused && !steps)
        return true;
    guest_pause(guest);
    if (__atomic_load_n(&guest->vcpus_queued, __ATOMIC_ACQUIRE) != 0)
        return false;
    control_debug_resume(guest, NULL);
    return true;
}

static bool let_all_go(void)
{
    bool all = true;
    debug_forget();
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        all &= let_go(&guests[i]);
    return all;
}

bool control_close(struct guest *guest)
{
    if (guest->window.size == 0)
        return true;
    if (control.job.kind != JOB_NONE || (guest->end != GUEST_END_NONE && !let_all_go()))
        return false;
    if (control.window != NULL) {
        memset(control.window, 0, SIZE_2M);
        window_unmap(control.window, SIZE_2M);
    }
    if (control.window_given)
        leak_quarantine(0, guest->window.size);
    else
        extent_free(&guest->window);
    guest->window = (struct extent){0};
    control.guest = NULL;
    control.window = NULL;
    control.window_given = false;
    return true;
}

/* ---- operations ---- */

static enum control_result interrupt(struct control_call *call)
{
    uint64_t vector = call->request.argument;
    if (vector > UINT8_MAX || (vector != 0 && vector < 32))
        return CONTROL_INVALID;
    control.vector = (uint8_t)vector;
    return CONTROL_OK;
}

static enum control_result launch(struct control_call *call)
{
    return lifecycle_relaunch(call->guest) ? CONTROL_OK : CONTROL_STATE;
}

static enum control_result receive(struct control_call *call)
{
    call->guest->receives = lifecycle_relaunch(call->guest);
    return call->guest->receives ? CONTROL_OK : CONTROL_STATE;
}

static enum control_result end(struct control_call *call)
{
    return guest_end(call->guest, GUEST_END_DESTROYED, "ended by the control guest") ? CONTROL_OK : CONTROL_STATE;
}

static enum control_result refuse(struct control_call *call, enum control_result result, const char *why)
{
    text_format(call->answer.text, sizeof(call->answer.text), "%s", why);
    return result;
}

/* Then what a SEV guest has written is in memory, for the SEV firmware to see. */
static enum control_result pause(struct control_call *call)
{
    struct guest *guest = call->guest;
    switch (control_info_state(guest)) {
    case CONTROL_STATE_RUNNING:
        if (!guest->paused)
            guest_pause(guest);
        return control_waits(call);
    case CONTROL_STATE_PAUSED:
        return guest->sev && !wbinvd_all(&control.job.wbinvd) ? control_waits(call) : CONTROL_OK;
    default:
        return CONTROL_STATE;
    }
}

static enum control_result resume(struct control_call *call)
{
    if (call->guest->paused)
        control_debug_resume(call->guest, NULL);
    else if (call->guest->receives && !control_state_complete(call->guest))
        return refuse(call, CONTROL_STATE, "its state is not set, or RECEIVE_FINISH not done");
    else if (!call->guest->receives && !call->guest->secret_placed)
        return refuse(call, CONTROL_STATE, "it requires a secret, and LAUNCH_SECRET has placed none");
    call->guest->awaits = 0;
    return CONTROL_OK;
}

/* One at a time: it is in use until LAUNCH_START is over. */
static enum control_result session(struct control_call *call)
{
    static struct control_session session;
    struct guest *guest = call->guest;
    if (guest->awaits == CONTROL_STATE_SESSION) {
        control_take(call, &session, sizeof(session));
        if ((session.policy & (SEV_POLICY_RESERVED | SEV_POLICY_ES)) != 0)
            return refuse(call, CONTROL_INVALID, "the policy has reserved bits set, or demands SEV-ES");
        guest->sev_policy = session.policy;
        guest->session = &session;
        guest->awaits = 0;
    }
    if (guest->session != NULL)
        return control_waits(call);
    return guest->sev_context ? CONTROL_OK : refuse(call, CONTROL_SEV_FAILED, guest->end_reason);
}

static enum control_result firmware(struct control_call *call)
{
    struct psp_result result;
    call->guest = call->request.guest < guest_count() ? &guests[call->request.guest] : NULL;
    call->verdict = sev_mailbox(call->job, &result);
    if (call->verdict == JOB_IDLE) {
        enum control_state state = call->guest != NULL ? control_info_state(call->guest) : CONTROL_STATE_NONE;
        enum control_result sent = control_firmware_submit(call, state);
        call->verdict = sent == CONTROL_OK ? JOB_WAITS : JOB_MOVED;
        return sent;
    }
    if (call->verdict != JOB_MOVED)
        return CONTROL_OK;
    control_firmware_answer(call, result);
    control.window_given |= result.error == PSP_TIMEOUT;
    return call->answer.result;
}

static enum control_result console_read_kept(struct control_call *call)
{
    uint32_t index = call->request.guest;
    if (index >= guest_count() && index != CONTROL_LOG)
        return CONTROL_NO_GUEST;
    const struct history *history = index == CONTROL_LOG ? &line_history : &guests[index].output.history;
    struct told *told = &control.told[index == CONTROL_LOG ? GUEST_MAX : index];
    call->answer.value = call->request.address;
    console_begin();
    call->answer.size = history_read(history, &call->answer.value, call->data, call->request.size);
    console_end();
    told->console = false;
    told->read = call->answer.value + call->answer.size;
    return CONTROL_OK;
}

static enum control_result console_write_input(struct control_call *call)
{
    while (call->answer.value < call->request.size && guest_input(call->guest, call->data[call->answer.value]))
        call->answer.value++;
    return CONTROL_OK;
}

/* ---- requests ---- */

#define IN(state) (1u << CONTROL_STATE_##state)
#define ALIVE (IN(LAUNCHING) | IN(SESSION) | IN(HELD) | IN(RECEIVING) | IN(RUNNING) | IN(PAUSED))
#define ANY UINT16_MAX

/* What an operation has or wants. */
enum {
    DATA = 1,       /* `data` and `size` */
    OTHERS = 2,     /* another guest than the control guest itself */
    PERMIT = 4,     /* control_debug_forbidden() by the row's bits: CONTROL_POLICY */
    VCPU = 8,       /* one that no CPU has */
    WHOLE = 16,     /* or CONTROL_WHOLE_GUEST */
};

static const struct operation {
    enum control_result (*run)(struct control_call *call);
    uint16_t states;    /* of its guest; 0: it has none */
    uint8_t wants;
    uint8_t policy;     /* bits */
    uint32_t input;     /* bytes at least */
} operations[] = {
    [CONTROL_PLATFORM_INFO] = {control_info_platform, 0, DATA, 0, 0},
    [CONTROL_GUEST_INFO] = {control_info_guest, ANY, DATA, 0, 0},
    [CONTROL_INTERRUPT] = {interrupt, 0, 0, 0, 0},
    [CONTROL_LAUNCH] = {launch, IN(ENDED) | IN(REFUSED), 0, 0, 0},
    [CONTROL_END] = {end, ALIVE, 0, 0, 0},
    [CONTROL_PAUSE] = {pause, IN(RUNNING), OTHERS, 0, 0},
    [CONTROL_RESUME] = {resume, IN(PAUSED) | IN(HELD) | IN(RECEIVING), OTHERS, 0, 0},
    [CONTROL_STEP] = {control_debug_step, IN(PAUSED), OTHERS | PERMIT | VCPU, SEV_POLICY_NODBG, 0},
    [CONTROL_SESSION] = {session, IN(SESSION), DATA | OTHERS, 0, sizeof(struct control_session)},
    [CONTROL_RECEIVE] = {receive, IN(ENDED) | IN(REFUSED), OTHERS | PERMIT, 0, 0},
    [CONTROL_CONSOLE_READ] = {console_read_kept, 0, DATA, 0, 0},
    [CONTROL_CONSOLE_WRITE] = {console_write_input, ALIVE, DATA, 0, 0},
    [CONTROL_VCPU_GET] = {control_debug_vcpu_get, IN(PAUSED), DATA | OTHERS | PERMIT | VCPU, SEV_POLICY_NODBG, 0},
    [CONTROL_VCPU_SET] = {control_debug_vcpu_set, IN(PAUSED), DATA | OTHERS | PERMIT | VCPU, SEV_POLICY_NODBG,
                          sizeof(struct control_vcpu)},
    [CONTROL_MEMORY_READ] = {control_debug_memory, IN(RUNNING) | IN(PAUSED), DATA | OTHERS, 0, 0},
    [CONTROL_MEMORY_WRITE] = {control_debug_memory, IN(RUNNING) | IN(PAUSED) | IN(RECEIVING), DATA | OTHERS, 0, 0},
    [CONTROL_PAGES] = {control_state_pages, IN(RUNNING) | IN(PAUSED), DATA | OTHERS | PERMIT, SEV_POLICY_NOSEND, 0},
    [CONTROL_STATE_GET] = {control_state_get, IN(PAUSED), DATA | OTHERS | PERMIT | VCPU | WHOLE, SEV_POLICY_NOSEND, 0},
    [CONTROL_STATE_SET] = {control_state_set, IN(RECEIVING), DATA | OTHERS | VCPU | WHOLE, 0, 0},
    [CONTROL_FIRMWARE] = {firmware, 0, 0, 0, 0},
};

/* Copies the request, and checks what its operation's row says. */
static enum control_result take(struct control_call *call, const struct operation **operation)
{
    *call = (struct control_call){.window = control.guest->window.base, .job = &control.job};
    memcpy(&call->request, control.window + CONTROL_REQUEST, sizeof(call->request));
    __asm__ volatile("" : : : "memory"); /* the copy is what is checked */
    const struct control_request *request = &call->request;
    if (request->sequence != control.sequence)
        return CONTROL_INVALID;
    if (request->operation >= sizeof(operations) / sizeof(*operations) || operations[request->operation].run == NULL)
        return CONTROL_UNKNOWN;
    const struct operation *row = *operation = &operations[request->operation];
    if ((row->wants & DATA) != 0 && (request->data < CONTROL_DATA || request->data > CONTROL_WINDOW_SIZE ||
                                     request->size > CONTROL_WINDOW_SIZE - request->data || request->size < row->input))
        return CONTROL_INVALID;
    call->data = control.window + request->data;
    if (row->states == 0)
        return CONTROL_OK;
    if (request->guest >= guest_count())
        return CONTROL_NO_GUEST;
    call->guest = &guests[request->guest];
    if ((row->wants & OTHERS) != 0 && call->guest == control.guest)
        return CONTROL_INVALID;
    if ((row->states >> control_info_state(call->guest) & 1) == 0)
        return CONTROL_STATE;
    if ((row->wants & PERMIT) != 0 && control_debug_forbidden(call->guest, row->policy))
        return CONTROL_POLICY;
    if ((row->wants & VCPU) != 0 && !((row->wants & WHOLE) != 0 && request->vcpu == CONTROL_WHOLE_GUEST)) {
        if (request->vcpu >= call->guest->config->vcpus)
            return CONTROL_INVALID;
        call->vcpu = call->guest->vcpus[request->vcpu];
    }
    return CONTROL_OK;
}

static void raise_vector(void)
{
    if (control.vector != 0 && control.guest->state == GUEST_RUNNING && control.guest->end == GUEST_END_NONE)
        ipi_raise(control.guest->vcpus[0], control.vector);
}

/* The sequence is written last. */
static void write_answer(struct control_call *call, enum control_result result)
{
    struct control_answer *answer = (void *)(control.window + CONTROL_ANSWER);
    call->answer.sequence = answer->sequence;
    call->answer.result = result;
    memcpy(answer, &call->answer, sizeof(*answer));
    __atomic_store_n(&control.guest->doorbell, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&answer->sequence, control.sequence, __ATOMIC_RELEASE);
    raise_vector();
}

enum job_verdict control_step(struct job *job)
{
    static const struct operation *operation;
    enum control_result result = CONTROL_OK;
    if (job->state == 0) {
        result = take(&control.call, &operation);
        job_next(job, 1);
    }
    control.call.verdict = JOB_MOVED;
    if (result == CONTROL_OK)
        result = operation->run(&control.call);
    if (control.call.verdict != JOB_MOVED)
        return control.call.verdict;
    write_answer(&control.call, result);
    job_finish(job);
    return JOB_MOVED;
}

struct job *control_job(void)
{
    return &control.job;
}

/* ---- events ---- */

static void write_event(uint32_t kind, uint32_t guest, uint32_t vcpu, uint32_t code)
{
    struct control_header *header = (void *)control.window;
    struct control_event *events = (void *)(control.window + CONTROL_EVENTS);
    control.events++;
    events[(control.events - 1) % CONTROL_EVENT_COUNT] = (struct control_event){kind, guest, vcpu, code};
    __atomic_store_n(&header->events, control.events, __ATOMIC_RELEASE);
}

static bool tell_console(struct told *told, uint32_t guest, const struct history *history)
{
    if (told->console || told->read >= __atomic_load_n(&history->total, __ATOMIC_RELAXED))
        return false;
    told->console = true;
    write_event(CONTROL_EVENT_CONSOLE, guest, 0, 0);
    return true;
}

/* Of a paused guest: none of its vCPUs runs. Behind a WBINVD, as with CONTROL_PAUSE. */
static bool tell_stops(const struct guest *guest)
{
    bool any = false;
    for (uint32_t i = 0; i < guest->config->vcpus; i++) {
        struct vcpu *vcpu = guest->vcpus[i];
        if (vcpu->stopped == 0)
            continue;
        if (guest->sev && !any && !wbinvd_all(&job_of(guest)->wbinvd))
            return false;
        write_event(CONTROL_EVENT_STOPPED, guest->index, i, vcpu->stopped - 1u);
        vcpu->stopped = 0;
        any = true;
    }
    return any;
}

static bool tell_guest(struct told *told, const struct guest *guest)
{
    enum control_state state = control_info_state(guest);
    bool console = tell_console(told, guest->index, &guest->output.history);
    bool stops = state == CONTROL_STATE_PAUSED && tell_stops(guest);
    if (told->state == state)
        return console || stops;
    told->state = state;
    write_event(CONTROL_EVENT_STATE, guest->index, 0, state);
    return true;
}

void control_poll(void)
{
    if (control.guest == NULL || control.guest->state != GUEST_RUNNING)
        return;
    if (control.job.kind == JOB_NONE) {
        control.sequence = __atomic_load_n(&control.guest->doorbell, __ATOMIC_ACQUIRE);
        if (control.sequence != 0)
            job_begin(&control.job, JOB_CONTROL, NULL);
    }
    bool news = tell_console(&control.told[GUEST_MAX], CONTROL_LOG, &line_history);
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        news |= tell_guest(&control.told[i], &guests[i]);
    if (news)
        raise_vector();
}
