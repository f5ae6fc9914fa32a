/* Binds a plan to concrete input shapes: shapes, values known from shapes, prepared steps, places in the arena. */
#include "runtime/plan.h"

#include <string.h>

#include "runtime/kinds.h"
#include "runtime/memory_plan.h"

enum {
    CACHE_ENTRIES = 16,           /* specialisations a plan keeps; unused ones go, oldest first */
    KNOWN_BYTES = 1 << 16         /* a value is computed ahead of the runs up to this size: shape arithmetic, not data */
};

struct builder {
    struct specialisation *result;
    struct mitral_plan *plan;
    mitral_context *context;
    const mitral_value **inputs;  /* scratch, as long as the longest step's list */
    mitral_value **outputs;
};

void specialisation_destroy(struct specialisation *s)
{
    if (!s)
        return;
    mitral_context *context = s->plan->context;
    if (s->steps)
        for (size_t i = 0; i < s->plan->step_count; i++)
            if (s->steps[i].state && s->plan->steps[i].kernel->release)
                s->plan->steps[i].kernel->release(context, s->steps[i].state);
    arena_clear(&s->arena);
    mitral_release(context, s);
}

static bool same_key(const struct specialisation *s, const mitral_value *const *inputs, int threads)
{
    if (s->threads != threads)
        return false;
    for (size_t i = 0; i < s->plan->input_count; i++) {
        const mitral_value *key = &s->key[i], *value = inputs[i];
        if (!value ? key->kind != -1 : key->kind != value->kind)
            return false;
        if (value && value->kind == MITRAL_TENSOR
            && (key->tensor.dtype != value->tensor.dtype || !tensor_same_shape(&key->tensor, &value->tensor)))
            return false;
    }
    return true;
}

static mitral_status check_input(mitral_context *context, const struct plan_value *declared, const mitral_value *value)
{
    if (!value)
        return MITRAL_OK;
    if (declared->kind == MITRAL_OPTIONAL && value->kind != MITRAL_OPTIONAL)
        return MITRAL_OK; /* an element stands for an optional that holds it: loops carry it so */
    if (declared->kind != value->kind)
        return mitral_fail(context, MITRAL_INVALID, "input '%s': expected a value of kind %s, found %s", declared->name,
                           kind_name(declared->kind), kind_name(value->kind));
    if (value->kind != MITRAL_TENSOR)
        return MITRAL_OK;
    mitral_tensor expected = {.dtype = declared->dtype, .rank = declared->rank};
    bool fits = value->tensor.rank >= 0 && value->tensor.rank <= MITRAL_MAX_RANK
                && (declared->dtype == MITRAL_UNDEFINED || declared->dtype == value->tensor.dtype)
                && (declared->rank < 0 || declared->rank == value->tensor.rank);
    bool open = false;
    for (int32_t i = 0; i < declared->rank; i++) {
        expected.dims[i] = declared->dims[i];
        open |= declared->dims[i] < 0;
        fits = fits && (declared->dims[i] < 0 || declared->dims[i] == value->tensor.dims[i]);
    }
    if (!fits) {
        char found[256], wanted[256];
        return mitral_fail(context, MITRAL_INVALID, "input '%s': expected %s%s, found %s", declared->name,
                           tensor_describe(&expected, wanted, sizeof wanted), open ? " (-1 is any size)" : "",
                           tensor_describe(&value->tensor, found, sizeof found));
    }
    if (value->tensor.layout != LAYOUT_PLAIN)
        return mitral_fail(context, MITRAL_INVALID, "input '%s': expected plain layout, found layout %d", declared->name,
                           value->tensor.layout);
    return tensor_check_size(context, &value->tensor);
}

/* Fills the call's lists; false when an input is not known in shape. */
static bool fill_call(struct builder *b, const struct step *step, struct kernel_call *call)
{
    *call = (struct kernel_call){.context = b->context, .kernel = step->kernel, .name = step->name, .attributes = &step->attributes, .opset = step->opset,
                                 .threads = b->result->threads, .input_count = step->input_count, .inputs = b->inputs,
                                 .output_count = step->output_count, .outputs = b->outputs, .arena = &b->result->arena};
    bool known = true;
    for (size_t i = 0; i < step->input_count; i++) {
        uint32_t id = step->inputs[i];
        b->inputs[i] = id == NO_ID ? NULL : &b->result->values[id];
        known = known && (id == NO_ID || !b->result->dynamic[id]);
    }
    for (size_t i = 0; i < step->output_count; i++)
        b->outputs[i] = step->outputs[i] == NO_ID ? NULL : &b->result->values[step->outputs[i]];
    return known;
}

/* Whether the step's result follows from what is known already and is small: then it is computed here, once. */
static bool can_know(const struct builder *b, const struct step *step)
{
    if (step->kernel->flags & (KERNEL_RANDOM | KERNEL_ALLOCATES) || step->subplan_count)
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < step->output_count; i++) {
        uint32_t id = step->outputs[i];
        if (id == NO_ID)
            continue;
        bytes += tensor_bytes(&b->result->values[id].tensor);
        if (b->plan->values[id].variable != NO_ID || bytes > KNOWN_BYTES)
            return false;
    }
    if (step->kernel->flags & KERNEL_READS_SHAPES_ONLY)
        return true;
    for (size_t i = 0; i < step->input_count; i++)
        if (step->inputs[i] != NO_ID && !b->result->values[step->inputs[i]].tensor.data)
            return false;
    return true;
}

static mitral_status compute_known(struct builder *b, const struct step *step, struct kernel_call *call, struct step_state *state)
{
    for (size_t i = 0; i < step->output_count; i++) {
        if (step->outputs[i] == NO_ID)
            continue;
        mitral_tensor *tensor = &b->result->values[step->outputs[i]].tensor;
        size_t bytes = tensor_bytes(tensor);
        tensor->data = arena_allocate(&b->result->arena, bytes ? bytes : 1);
        if (!tensor->data)
            return MITRAL_NO_MEMORY;
    }
    size_t scratch = 0;
    if (step->kernel->prepare)
        TRY(step->kernel->prepare(call, &state->state, &scratch));
    call->state = state->state;
    if (scratch && !(call->scratch = arena_allocate(&b->result->arena, scratch)))
        return MITRAL_NO_MEMORY;
    TRY(step->kernel->run(call));
    state->known = true;
    return MITRAL_OK;
}

static mitral_status bind_step(struct builder *b, const struct step *step, struct step_state *state)
{
    struct kernel_call call;
    TRY(kinds_check_step(b->context, b->plan, step));
    bool known = fill_call(b, step, &call);
    mitral_status status = MITRAL_DEFERRED;
    if (known && !(step->kernel->flags & KERNEL_ALLOCATES) && !step->subplan_count)
        status = step->kernel->shape(&call);
    if (status == MITRAL_DEFERRED) {
        state->deferred = true;
        for (size_t i = 0; i < step->output_count; i++)
            if (step->outputs[i] != NO_ID)
                b->result->dynamic[step->outputs[i]] = true;
        return MITRAL_OK;
    }
    TRY(status);
    for (size_t i = 0; i < step->output_count; i++)
        if (step->outputs[i] != NO_ID)
            TRY(tensor_check_size(b->context, &b->result->values[step->outputs[i]].tensor));
    if (can_know(b, step))
        return compute_known(b, step, &call, state);
    if (step->kernel->prepare)
        TRY(step->kernel->prepare(&call, &state->state, &state->scratch_bytes));
    return MITRAL_OK;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

/* Values that share memory form a group: the root owns it, the others lie at an offset in it. */
struct place {
    uint32_t root;
    size_t offset;                /* in the root */
    uint32_t first, last;         /* of a root: lifetime of the whole group */
    bool shared;                  /* a group of several values that may not be written in place */
};

static bool in_arena(const struct builder *b, uint32_t id)
{
    const struct plan_value *value = &b->plan->values[id];
    return value->role == ROLE_COMPUTED && value->kind == MITRAL_TENSOR && value->variable == NO_ID && !b->result->dynamic[id]
           && !b->result->values[id].tensor.data;
}

static uint32_t root_of(const struct place *places, uint32_t id)
{
    while (places[id].root != id)
        id = places[id].root;
    return id;
}

static size_t offset_of(const struct place *places, uint32_t id)
{
    size_t offset = 0;
    for (; places[id].root != id; id = places[id].root)
        offset += places[id].offset;
    return offset;
}

static void join(struct place *places, uint32_t child_root, uint32_t parent, size_t offset)
{
    uint32_t root = root_of(places, parent);
    places[child_root].root = parent;
    places[child_root].offset = offset;
    if (places[child_root].first < places[root].first)
        places[root].first = places[child_root].first;
    if (places[child_root].last > places[root].last)
        places[root].last = places[child_root].last;
    places[root].shared |= places[child_root].shared;
}

/* Output `output` of a step may take the memory of input `input` when nobody reads that later. */
static void share(struct builder *b, struct place *places, uint32_t index, const struct step *step, size_t input_index, size_t output_index)
{
    if (input_index >= step->input_count || output_index >= step->output_count)
        return;
    uint32_t input = step->inputs[input_index], output = step->outputs[output_index];
    if (input == NO_ID || output == NO_ID || !in_arena(b, input) || !in_arena(b, output))
        return;
    uint32_t root = root_of(places, input);
    if (places[root].shared || places[root].last != index || root_of(places, output) != output || offset_of(places, input) != 0
        || b->plan->values[input].keep
        || tensor_bytes(&b->result->values[input].tensor) != tensor_bytes(&b->result->values[output].tensor)
        /* Two int64 that broadcast to sixteen bools have the same bytes, but not element by element. */
        || mitral_dtype_size((mitral_dtype)b->result->values[input].tensor.dtype)
               != mitral_dtype_size((mitral_dtype)b->result->values[output].tensor.dtype))
        return;
    /* Other inputs of the step in the same memory would be overwritten as they are read, unless they are the same value. */
    for (size_t i = 0; i < step->input_count; i++)
        if (step->inputs[i] != NO_ID && step->inputs[i] != input && in_arena(b, step->inputs[i])
            && root_of(places, step->inputs[i]) == root)
            return;
    uint32_t last = places[output].last;
    places[output].root = input;
    places[output].offset = 0;
    if (last > places[root].last)
        places[root].last = last;
}

/* A step whose kernel allows it may write over its first input, or over those that the kernel names. */
static void share_in_place(struct builder *b, struct place *places, uint32_t index, const struct step *step)
{
    const struct kernel *kernel = step->kernel;
    struct kernel_call call;
    if (kernel->flags & KERNEL_IN_PLACE || (kernel->in_place && kernel->in_place(b->result->steps[index].state)))
        share(b, places, index, step, 0, 0);
    if (!kernel->shares)
        return;
    fill_call(b, step, &call);
    for (size_t output = 0; output < step->output_count; output++)
        share(b, places, index, step, kernel->shares(&call, output), output);
}

/* The inputs of a contiguous concatenation are computed right where it wants them. */
static void share_concatenation(struct builder *b, struct place *places, const struct step *step)
{
    if (!(step->kernel->flags & KERNEL_CONCATENATES) || step->output_count != 1 || step->outputs[0] == NO_ID
        || !in_arena(b, step->outputs[0]))
        return;
    uint32_t output = step->outputs[0];
    const mitral_tensor *whole = &b->result->values[output].tensor;
    int64_t axis = attribute_int(&step->attributes, "axis", 0);
    axis += axis < 0 ? whole->rank : 0;
    if (axis < 0 || axis >= whole->rank || whole->layout != LAYOUT_PLAIN)
        return;
    for (int64_t i = 0; i < axis; i++)
        if (whole->dims[i] != 1)
            return;
    size_t offset = 0;
    for (size_t i = 0; i < step->input_count; i++) {
        uint32_t input = step->inputs[i];
        if (input == NO_ID)
            return;
        size_t bytes = tensor_bytes(&b->result->values[input].tensor);
        if (in_arena(b, input) && offset % 64 == 0 && root_of(places, input) == input && !places[input].shared
            && root_of(places, output) != input && !b->plan->values[input].keep
            && b->result->values[input].tensor.layout == LAYOUT_PLAIN) {
            join(places, input, output, offset);
            places[root_of(places, output)].shared = true;
        }
        offset += bytes;
    }
}

static mitral_status plan_memory(struct builder *b)
{
    struct specialisation *s = b->result;
    size_t values = b->plan->value_count, steps = b->plan->step_count, count = 0;
    struct place *places = mitral_allocate(b->context, (values ? values : 1) * sizeof *places);
    struct buffer *buffers = mitral_allocate(b->context, (values + steps + 1) * sizeof *buffers);
    mitral_status status = places && buffers ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        for (size_t v = 0; v < values; v++)
            places[v] = (struct place){.root = (uint32_t)v, .first = UINT32_MAX, .last = s->last_use[v]};
        for (size_t i = 0; i < steps; i++)
            for (size_t j = 0; j < b->plan->steps[i].output_count; j++) {
                uint32_t id = b->plan->steps[i].outputs[j];
                if (id == NO_ID)
                    continue;
                places[id].first = (uint32_t)i;
                if (places[id].last == UINT32_MAX || places[id].last < i)
                    places[id].last = (uint32_t)i; /* nobody reads it, but it is written */
            }
        /* Concatenations first: they save copies; and last to first, so that one inside another joins the outer one. */
        for (size_t i = steps; i-- > 0;)
            if (!s->steps[i].deferred && !s->steps[i].known)
                share_concatenation(b, places, &b->plan->steps[i]);
        for (size_t i = 0; i < steps; i++)
            if (!s->steps[i].deferred && !s->steps[i].known)
                share_in_place(b, places, (uint32_t)i, &b->plan->steps[i]);
        for (size_t v = 0; v < values; v++)
            if (in_arena(b, (uint32_t)v) && places[v].root == v && places[v].first != UINT32_MAX)
                buffers[count++] = (struct buffer){tensor_bytes(&s->values[v].tensor), places[v].first, places[v].last, 0};
        for (size_t i = 0; i < steps; i++)
            if (s->steps[i].scratch_bytes && !s->steps[i].known)
                buffers[count++] = (struct buffer){s->steps[i].scratch_bytes, (uint32_t)i, (uint32_t)i, 0};
        status = memory_plan(b->context, buffers, count, (uint32_t)steps, &s->arena_bytes, &s->live_bound);
        if (status == MITRAL_OK && s->arena_bytes > (size_t)b->context->options.max_run_bytes)
            status = mitral_fail(b->context, MITRAL_LIMIT, "expected values and scratch memory of at most %lld bytes " LIMIT_RUN_BYTES ", found %zu",
                                 (long long)b->context->options.max_run_bytes, s->arena_bytes);
    }
    if (status == MITRAL_OK) {
        count = 0;
        for (size_t v = 0; v < values; v++) {
            s->offsets[v] = SIZE_MAX;
            if (in_arena(b, (uint32_t)v) && places[v].root == v && places[v].first != UINT32_MAX)
                s->offsets[v] = buffers[count++].offset;
        }
        for (size_t v = 0; v < values; v++)
            if (in_arena(b, (uint32_t)v) && places[v].root != v)
                s->offsets[v] = s->offsets[root_of(places, (uint32_t)v)] + offset_of(places, (uint32_t)v);
        for (size_t i = 0; i < steps; i++)
            if (s->steps[i].scratch_bytes && !s->steps[i].known)
                s->steps[i].scratch_offset = buffers[count++].offset;
    }
    mitral_release(b->context, places);
    mitral_release(b->context, buffers);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

static void find_last_uses(const struct mitral_plan *plan, uint32_t *last_use)
{
    for (size_t v = 0; v < plan->value_count; v++)
        last_use[v] = plan->values[v].keep ? (uint32_t)plan->step_count : UINT32_MAX; /* UINT32_MAX: no reader */
    for (size_t i = 0; i < plan->step_count; i++)
        for (size_t j = 0; j < plan->steps[i].input_count; j++) {
            uint32_t id = plan->steps[i].inputs[j];
            if (id != NO_ID && !plan->values[id].keep)
                last_use[id] = (uint32_t)i;
        }
}

static mitral_status build(struct builder *b, const mitral_value *const *inputs)
{
    struct specialisation *s = b->result;
    struct mitral_plan *plan = b->plan;
    size_t longest = 1;
    for (size_t i = 0; i < plan->step_count; i++) {
        longest = plan->steps[i].input_count > longest ? plan->steps[i].input_count : longest;
        longest = plan->steps[i].output_count > longest ? plan->steps[i].output_count : longest;
    }
    s->key = arena_allocate(&s->arena, (plan->input_count + 1) * sizeof *s->key);
    s->values = arena_allocate(&s->arena, (plan->value_count + 1) * sizeof *s->values);
    s->offsets = arena_allocate(&s->arena, (plan->value_count + 1) * sizeof *s->offsets);
    s->dynamic = arena_allocate(&s->arena, plan->value_count + 1);
    s->last_use = arena_allocate(&s->arena, (plan->value_count + 1) * sizeof *s->last_use);
    s->steps = arena_allocate(&s->arena, (plan->step_count + 1) * sizeof *s->steps);
    b->inputs = arena_allocate(&s->arena, longest * sizeof *b->inputs);
    b->outputs = arena_allocate(&s->arena, longest * sizeof *b->outputs);
    if (!s->key || !s->values || !s->offsets || !s->dynamic || !s->last_use || !s->steps || !b->inputs || !b->outputs)
        return mitral_fail(b->context, MITRAL_NO_MEMORY, "out of memory while shapes were bound");
    for (size_t v = 0; v < plan->value_count; v++) {
        const struct plan_value *value = &plan->values[v];
        s->values[v].kind = value->kind;
        s->values[v].tensor.dtype = value->dtype;
        s->values[v].tensor.layout = value->layout;
        if (value->role == ROLE_CONSTANT || value->role == ROLE_VARIABLE) {
            s->values[v].tensor = value->constant;
            if (value->role == ROLE_VARIABLE)
                s->values[v].tensor.data = NULL; /* each session has its own */
        }
    }
    for (size_t i = 0; i < plan->input_count; i++) {
        uint32_t id = plan->inputs[i];
        TRY(check_input(b->context, &plan->values[id], inputs[i]));
        s->key[i].kind = -1;
        s->dynamic[id] = !inputs[i] || inputs[i]->kind != MITRAL_TENSOR;
        if (!inputs[i])
            continue;
        s->key[i].kind = inputs[i]->kind;
        s->key[i].tensor = inputs[i]->tensor;
        s->key[i].tensor.data = NULL;
        s->values[id] = s->key[i];
    }
    find_last_uses(plan, s->last_use);
    for (size_t i = 0; i < plan->step_count; i++)
        TRY(bind_step(b, &plan->steps[i], &s->steps[i]));
    return plan_memory(b);
}

/* Drops the oldest entries that no session uses while there are too many. The caller holds the lock. */
static void evict(struct mitral_plan *plan)
{
    while (plan->specialisation_count >= CACHE_ENTRIES) {
        struct specialisation **oldest = NULL;
        for (struct specialisation **at = &plan->specialisations; *at; at = &(*at)->next)
            if ((*at)->users == 0 && (!oldest || (*at)->age < (*oldest)->age))
                oldest = at;
        if (!oldest)
            return;
        struct specialisation *gone = *oldest;
        *oldest = gone->next;
        plan->specialisation_count--;
        specialisation_destroy(gone);
    }
}

mitral_status specialise(struct specialisation **out, mitral_context *context, struct mitral_plan *plan,
                         const mitral_value *const *inputs, int threads)
{
    *out = NULL;
    pthread_mutex_lock(&plan->lock);
    uint64_t age = 0;
    for (struct specialisation *s = plan->specialisations; s; s = s->next)
        age = s->age >= age ? s->age + 1 : age;
    for (struct specialisation *s = plan->specialisations; s; s = s->next)
        if (same_key(s, inputs, threads)) {
            s->users++;
            s->age = age;
            *out = s;
            pthread_mutex_unlock(&plan->lock);
            return MITRAL_OK;
        }
    mitral_status status = MITRAL_NO_MEMORY;
    struct specialisation *s = mitral_allocate(context, sizeof *s);
    if (s) {
        s->plan = plan;
        s->threads = threads;
        s->age = age;
        arena_initialise(&s->arena, plan->context);
        struct builder builder = {.result = s, .plan = plan, .context = context};
        status = build(&builder, inputs);
        if (status == MITRAL_OK) {
            evict(plan);
            s->users = 1;
            s->next = plan->specialisations;
            plan->specialisations = s;
            plan->specialisation_count++;
            *out = s;
        } else {
            specialisation_destroy(s);
        }
    }
    pthread_mutex_unlock(&plan->lock);
    return status;
}

void specialisation_release(struct specialisation *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->plan->lock);
    s->users--;
    pthread_mutex_unlock(&s->plan->lock);
}
