/* Files that are no models, or damaged ones: a status and a message each, whatever the damage. */
#include "onnx_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import.h"
#include "runtime/file.h"

static struct builder builder;

static int start(void **state)
{
    (void)state;
    builder_start(&builder);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    builder_stop(&builder);
    return 0;
}

static void refuses_bytes(const void *bytes, size_t size, mitral_status want, const char *word)
{
    struct graph *graph;
    mitral_status status = import_onnx(&graph, builder.context, bytes, size, NULL);
    assert_null(graph);
    if ((want != MITRAL_OK && status != want) || status == MITRAL_OK || !strstr(mitral_context_message(builder.context), word))
        fail_msg("expected status %d and '%s', found %d: %s", want, word, status, mitral_context_message(builder.context));
    assert_null(strchr(mitral_context_message(builder.context), '\n'));
}

static void refuses(mitral_status want, const char *word)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    refuses_bytes(bytes, size, want, word);
}

static void a_small_model(void)
{
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Relu", "x", "y");
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

static void load_corpus(const char *name, struct file_mapping *file)
{
    char path[512];
    const char *source = getenv("MITRAL_SOURCE");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/import/%s", source ? source : ".", name);
    assert_ok(builder.context, file_map(file, builder.context, path));
}

/* A model cut anywhere is refused, or is a shorter model: never more than that. */
static void truncated_anywhere(void **state)
{
    (void)state;
    static const char *const names[] = {"convolution.onnx", "branches.onnx", "functions.onnx", "tensors.onnx"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct file_mapping file;
        load_corpus(names[i], &file);
        size_t refused = 0;
        for (size_t size = 0; size < file.size; size++) {
            void *exact = malloc(size ? size : 1); /* a read past the end is one past an allocation */
            memcpy(exact, file.data, size);
            struct graph *graph;
            mitral_status status = import_onnx(&graph, builder.context, exact, size, NULL);
            if (status == MITRAL_OK)
                assert_ok(builder.context, graph_verify(graph));
            else
                assert_true(*mitral_context_message(builder.context));
            refused += status != MITRAL_OK;
            graph_destroy(&graph);
            free(exact);
        }
        assert_true(refused + 8 > file.size); /* of these models, all but a cut at a record's end */
        struct graph *graph;
        assert_ok(builder.context, import_onnx(&graph, builder.context, file.data, file.size, NULL));
        graph_destroy(&graph);
        file_unmap(&file);
    }
}

/* Every bit of a small model flipped, one at a time. */
static void flipped_anywhere(void **state)
{
    (void)state;
    struct file_mapping file;
    load_corpus("branches.onnx", &file);
    uint8_t *bytes = malloc(file.size);
    memcpy(bytes, file.data, file.size);
    for (size_t bit = 0; bit < file.size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        struct graph *graph;
        if (import_onnx(&graph, builder.context, bytes, file.size, NULL) == MITRAL_OK)
            assert_ok(builder.context, graph_verify(graph));
        else
            assert_true(*mitral_context_message(builder.context));
        graph_destroy(&graph);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(bytes);
    file_unmap(&file);
}

/* A type in a type in a type …, whose records are written from the inside out: `levels` of them take some 114 kB. */
static size_t nest(uint8_t *end, int levels, const uint8_t *tags, size_t tag_count)
{
    size_t size = 0;
    for (int i = 0; i < levels; i++) {
        uint8_t length[10];
        size_t bytes = 0;
        uint64_t left = size;
        do {
            length[bytes++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
            left >>= 7;
        } while (left);
        memcpy(end - size - bytes, length, bytes);
        size += bytes;
        end[-(ptrdiff_t)(++size)] = tags[(size_t)i % tag_count];
    }
    return size;
}

static void nested_too_deep(void **state)
{
    (void)state;
    enum { BYTES = 200000 };
    uint8_t *buffer = malloc(BYTES);
    /* value_info(13).type(2).sequence_type(4).elem_type(1).sequence_type(4) …: from the inside out */
    static const uint8_t types[] = {1 << 3 | 2, 4 << 3 | 2};
    uint8_t *end = buffer + BYTES;
    static const int levels[] = {40000, 98};
    for (size_t i = 0; i < 2; i++) {
        size_t size = nest(end, levels[i], types, 2);
        /* Around it: the type, the value_info, the graph, the model. */
        static const uint8_t around[] = {2 << 3 | 2, 13 << 3 | 2, 7 << 3 | 2};
        for (size_t k = 0; k < 3; k++) {
            uint8_t length[5];
            size_t bytes = 0, left = size;
            do {
                length[bytes++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
                left >>= 7;
            } while (left);
            memcpy(end - size - bytes, length, bytes);
            size += bytes;
            end[-(ptrdiff_t)(++size)] = around[k];
        }
        if (i == 0)
            assert_true(size > 114000);
        refuses_bytes(end - size, size, MITRAL_LIMIT, "100 deep");
    }
    /* As deep, in bytes that no message is expected in: only the model's own levels count. */
    size_t size = nest(end, 40000, (const uint8_t[]){14 << 3 | 2}, 1);
    end[-(ptrdiff_t)size] = 2 << 3 | 2; /* producer_name */
    refuses_bytes(end - size, size, MITRAL_INVALID, "IR version");
    free(buffer);
}

static void bytes_that_are_no_model(void **state)
{
    (void)state;
    static const char text[] = "This is a text and no model.", markup[] = "<html><body>404 Not Found</body></html>";
    static const uint8_t zeros[64], group[] = {0x0b, 0x0c}, number[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
                         longer[] = {0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, kind[] = {0x3a, 0x02, 0x08, 0x01};
    refuses_bytes("", 0, MITRAL_INVALID, "IR version");
    refuses_bytes(text, sizeof text - 1, MITRAL_INVALID, "ONNX model");
    refuses_bytes(markup, sizeof markup - 1, MITRAL_INVALID, "ONNX model");
    refuses_bytes(zeros, sizeof zeros, MITRAL_INVALID, "at byte 0");
    refuses_bytes(group, sizeof group, MITRAL_INVALID, "at byte 0");
    refuses_bytes(number, sizeof number, MITRAL_INVALID, "at byte 0");
    refuses_bytes(longer, sizeof longer, MITRAL_INVALID, "at byte 0");
    refuses_bytes(kind, sizeof kind, MITRAL_INVALID, "ONNX model");
}

/* Two bytes a node, of which each becomes a structure a hundred times as large. */
static void files_that_swell_are_refused(void **state)
{
    (void)state;
    size_t size = (size_t)48 << 20;
    uint8_t *bytes = malloc(size + 8);
    assert_non_null(bytes);
    uint8_t head[8] = {7 << 3 | 2};
    size_t length = 1;
    for (size_t left = size;; left >>= 7) {
        head[length++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        if (left <= 0x7f)
            break;
    }
    memcpy(bytes, head, length);
    for (size_t i = 0; i < size; i += 2) {
        bytes[length + i] = 1 << 3 | 2;
        bytes[length + i + 1] = 0;
    }
    refuses_bytes(bytes, length + size, MITRAL_LIMIT, "unpacked");
    free(bytes);
}

/* ---- versions ------------------------------------------------------------------------------------------------------ */

static void versions_must_be_known(void **state)
{
    (void)state;
    a_small_model();
    builder.model.ir_version = 2;
    refuses(MITRAL_UNSUPPORTED, "IR version 3 to");
    builder.model.ir_version = 1000;
    refuses(MITRAL_UNSUPPORTED, "found 1000");
    builder.model.has_ir_version = 0;
    refuses(MITRAL_INVALID, "IR version");
    builder.model.has_ir_version = 1;
    builder.model.ir_version = 8;
    builder.model.opset_import[0]->version = 1000;
    refuses(MITRAL_UNSUPPORTED, "found 1000");
    builder.model.opset_import[0]->version = 0;
    refuses(MITRAL_INVALID, "found 0");
    builder.model.opset_import[0]->version = 17;
    builder_opset(&builder, "ai.onnx", 16); /* the default domain under its other name */
    refuses(MITRAL_INVALID, "found 17 and 16");
    builder.model.n_opset_import = 0;
    refuses(MITRAL_INVALID, "imports an opset");
}

static void domains_must_be_imported(void **state)
{
    (void)state;
    a_small_model();
    builder.graph->node[0]->domain = (char *)"com.microsoft";
    refuses(MITRAL_INVALID, "'com.microsoft'");
}

/* ---- graphs -------------------------------------------------------------------------------------------------------- */

static void a_graph_is_needed(void **state)
{
    (void)state;
    builder.model.graph = NULL;
    refuses(MITRAL_INVALID, "graph");
}

static void cycles(void **state)
{
    (void)state;
    a_small_model();
    builder_node(&builder, builder.graph, "Add", "x,b", "a");
    builder_node(&builder, builder.graph, "Neg", "a", "b");
    refuses(MITRAL_INVALID, "cycle");
}

/* The inner node reads what the node around it gives. */
static void cycles_through_subgraphs(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, builder_info(&builder, "c", MITRAL_BOOL, 0, NULL, NULL));
    builder_output_2x3(&builder, "y");
    Onnx__GraphProto *then = builder_graph(&builder, "t");
    builder_node(&builder, then, "Neg", "y", "q");
    builder_output(&builder, then, builder_info(&builder, "q", MITRAL_FLOAT, 0, NULL, NULL));
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "If", "c", "y");
    builder_subgraph(&builder, node, "then_branch", then);
    builder_subgraph(&builder, node, "else_branch", then);
    refuses(MITRAL_INVALID, "cycle");
}

static void values_defined_twice(void **state)
{
    (void)state;
    a_small_model();
    builder_node(&builder, builder.graph, "Neg", "x", "y");
    refuses(MITRAL_INVALID, "'y' twice");
    builder.graph->n_node = 1;
    builder_input_2x3(&builder, "x");
    refuses(MITRAL_INVALID, "'x' twice");
    builder.graph->n_input = 1;
    builder_node(&builder, builder.graph, "Neg", "x", "x");
    refuses(MITRAL_INVALID, "'x' twice");
    builder.graph->n_node = 1;
    for (int i = 0; i < 2; i++)
        builder_floats(&builder, builder_initializer(&builder, builder.graph, "w", MITRAL_FLOAT, 1, (const int64_t[]){1}), (const float[]){1}, 1);
    refuses(MITRAL_INVALID, "'w' twice");
}

static void values_defined_nowhere(void **state)
{
    (void)state;
    a_small_model();
    builder_output_2x3(&builder, "z");
    refuses(MITRAL_INVALID, "output 'z'");
    builder.graph->n_output = 1;
    builder_node(&builder, builder.graph, "Neg", "nowhere", "z");
    refuses(MITRAL_INVALID, "Neg 'z': expected input 0, 'nowhere'");
}

static void absurd_types(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, builder_info(&builder, "x", MITRAL_FLOAT, 13, (const int64_t[13]){0}, NULL));
    refuses(MITRAL_UNSUPPORTED, "input 'x'");
    builder.graph->n_input = 0;
    builder_input(&builder, builder.graph, builder_info(&builder, "x", MITRAL_FLOAT, 1, (const int64_t[]){INT64_MIN}, NULL));
    refuses(MITRAL_INVALID, "input 'x'");
    builder.graph->n_input = 0;
    builder_input(&builder, builder.graph, builder_info(&builder, "x", 1000, 1, (const int64_t[]){1}, NULL));
    refuses(MITRAL_UNSUPPORTED, "found 1000");
}

static void messages_stay_one_line(void **state)
{
    (void)state;
    a_small_model();
    builder.graph->node[0]->op_type = (char *)"Re\nlu\r\x01";
    refuses(MITRAL_UNSUPPORTED, "Re lu");
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

struct allowance {
    size_t left;
    size_t alive;
};

static void *allocate(void *user, size_t size, size_t alignment)
{
    struct allowance *allowance = user;
    if (allowance->left == 0)
        return NULL;
    allowance->left--;
    void *pointer = NULL;
    if (posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    allowance->alive++;
    return pointer;
}

static void release(void *user, void *pointer)
{
    ((struct allowance *)user)->alive--;
    free(pointer);
}

/* Memory runs out at each allocation in turn: always that status, and nothing is left behind. */
static void out_of_memory_anywhere(void **state)
{
    (void)state;
    struct file_mapping file;
    load_corpus("functions.onnx", &file);
    bool done = false;
    for (size_t limit = 1; !done; limit++) {
        assert_true(limit < 10000);
        struct allowance allowance = {.left = limit};
        mitral_context_options options = {.allocate = allocate, .release = release, .user = &allowance};
        mitral_context *context;
        if (mitral_context_create(&context, &options) != MITRAL_OK)
            continue;
        struct graph *graph;
        mitral_status status = import_onnx(&graph, context, file.data, file.size, NULL);
        done = status == MITRAL_OK;
        if (!done)
            assert_int_equal(status, MITRAL_NO_MEMORY);
        graph_destroy(&graph);
        mitral_context_destroy(&context);
        assert_int_equal(allowance.alive, 0);
    }
    file_unmap(&file);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(truncated_anywhere), TEST(flipped_anywhere), TEST(nested_too_deep), TEST(bytes_that_are_no_model),
        TEST(files_that_swell_are_refused), TEST(versions_must_be_known), TEST(domains_must_be_imported), TEST(a_graph_is_needed),
        TEST(cycles), TEST(cycles_through_subgraphs), TEST(values_defined_twice), TEST(values_defined_nowhere), TEST(absurd_types),
        TEST(messages_stay_one_line), TEST(out_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
