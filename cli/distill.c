#include "cli/command.h"
#include "cli/training.h"

int command_distill(int argc, char **argv)
{
    return cli_training(argc, argv, "distill",
                        "Trains a light student under the guidance of a large teacher, both ONNX files, and writes the student under its own names.\v"
                        "Example: mitral distill --teacher teacher.onnx --student dpu-net.onnx --data acdc --steps 2000 --checkpoint run "
                        "-o student.onnx", true);
}
