/* Walks every operator row and every kernel row. */
#include "support.h"

#include <string.h>

#include "compiler/op.h"

static void test_every_operator_row(void **state)
{
    (void)state;
    const struct op *op;
    size_t count = 0;
    for (; (op = op_at(count)) != NULL; count++) {
        if (op_find(op->domain, op->name) != op)
            fail_msg("%s: two rows", op->name);
        const char *domain = op_domain(op);
        const struct schema *schema = schema_find(domain, op->name, INT64_MAX);
        /* The package's domains; com.microsoft and mitral have no schemas there. ONNX Runtime's optimiser writes one
         * operator into the default domain that the standard does not have. */
        bool in_package =
            (!*domain || strncmp(domain, "ai.onnx", 7) == 0) && strcmp(op->name, "SimplifiedLayerNormalization") != 0;
        if (!schema && in_package)
            fail_msg("%s: no schema in domain '%s'", op->name, domain);
        if (!op_kernel(op) && !op->lower && !(schema && schema->function_body) && !(op->traits & OP_CONTROL))
            fail_msg("%s: nothing runs it", op->name);
        if (op->kernel && !kernel_find(op->kernel))
            fail_msg("%s: kernel '%s' is not there", op->name, op->kernel);
    }
    assert_true(count > 100);
    assert_null(op_at(count + 1000));
}

static void test_every_kernel_row(void **state)
{
    (void)state;
    const struct kernel *kernel;
    size_t count = 0;
    for (; (kernel = kernel_at(count)) != NULL; count++) {
        if (kernel_find(kernel->name) != kernel)
            fail_msg("%s: two rows", kernel->name);
        if (!kernel->shape || !kernel->run)
            fail_msg("%s: no shape or no run", kernel->name);
    }
    assert_true(count > 100);
}

static void test_names_that_are_not_there(void **state)
{
    (void)state;
    assert_null(op_find(NULL, NULL));
    assert_null(op_find("", "NoSuchOperator"));
    assert_null(op_find("com.example", "Add"));
    assert_null(kernel_find(NULL));
    assert_null(kernel_find(""));
    assert_ptr_equal(op_find(NULL, "Add"), op_find("ai.onnx", "Add"));
    assert_ptr_equal(op_find("", "Add"), op_find("ai.onnx", "Add"));
    assert_ptr_not_equal(op_find("ai.onnx.ml", "Scaler"), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_operator_row),
                                       cmocka_unit_test(test_every_kernel_row),
                                       cmocka_unit_test(test_names_that_are_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
