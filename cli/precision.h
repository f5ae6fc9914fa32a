#ifndef MITRAL_CLI_PRECISION_H
#define MITRAL_CLI_PRECISION_H

#include "cli/command.h"

/* Of a plan compiled with bf16: prints how far its outputs are from those of the same model in f32, on one sample of standard-normal
 * inputs. Prints nothing of a plan in f32. */
mitral_status cli_state_precision(mitral_context *context, const mitral_model *model, const mitral_compile_options *options,
                                  mitral_plan *plan);

#endif
