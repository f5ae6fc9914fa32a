/* Which operators have no gradient, and why. A row of the operators' tables has a gradient, is composed of others, or stands here:
 * tests/unit/test_gradient.c holds every row to that. */
#include <string.h>

#include "compiler/gradients/gradients.h"

static const char integers[] = "its outputs are integers, booleans or strings";
static const char constant[] = "its outputs do not change with its inputs, but for jumps: nothing flows back";
static const char made[] = "its outputs are made from shapes, counts or random numbers alone";
static const char rounds[] = "it rounds to integers; train the model before it is quantized";
static const char learns[] = "it is a step of training itself, and is not differentiated once more";
static const char made_here[] = "the compiler makes it itself, for gradients or after they are built";
static const char jumps[] = "it chooses among constants by comparing: its outputs do not change with its inputs, but for jumps";
static const char maps[] = "it works on strings or maps, not on numbers that are trained";
static const char sequences[] = "what takes items out of its sequence or optional is differentiated past it, where positions are known";
static const char classifier[] = "no gradient: what its classes score is settled by votes of pairs, or coupled by an iteration";

static const struct {
    const char *domain, *name, *reason;
} reasons[] = {
    {"", "And", integers},
    {"", "ArgMax", integers},
    {"", "ArgMin", integers},
    {"", "Bernoulli", constant},
    {"", "BitCast", "it reads the bits of its input"},
    {"", "BitShift", integers},
    {"", "BitwiseAnd", integers},
    {"", "BitwiseNot", integers},
    {"", "BitwiseOr", integers},
    {"", "BitwiseXor", integers},
    {"", "BlackmanWindow", made},
    {"", "Ceil", constant},
    {"", "Constant", made},
    {"", "ConstantOfShape", made},
    {"", "ConvInteger", integers},
    {"", "DynamicQuantizeLinear", rounds},
    {"", "Equal", integers},
    {"", "EyeLike", made},
    {"", "Floor", constant},
    {"", "Greater", integers},
    {"", "GreaterOrEqual", integers},
    {"", "HammingWindow", made},
    {"", "HannWindow", made},
    {"", "Hardmax", constant},
    {"", "ImageDecoder", integers},
    {"", "IsInf", integers},
    {"", "IsNaN", integers},
    {"", "Less", integers},
    {"", "LessOrEqual", integers},
    {"", "MatMulInteger", integers},
    {"", "MelWeightMatrix", "its triangles start and end at rounded places"},
    {"", "Multinomial", integers},
    {"", "NonMaxSuppression", integers},
    {"", "NonZero", integers},
    {"", "Not", integers},
    {"", "Optional", sequences},
    {"", "OptionalHasElement", integers},
    {"", "Or", integers},
    {"", "QLinearConv", rounds},
    {"", "QLinearMatMul", rounds},
    {"", "QuantizeLinear", rounds},
    {"", "RandomNormal", made},
    {"", "RandomNormalLike", made},
    {"", "RandomUniform", made},
    {"", "RandomUniformLike", made},
    {"", "RegexFullMatch", integers},
    {"", "Round", constant},
    {"", "SequenceConstruct", sequences},
    {"", "SequenceEmpty", made},
    {"", "SequenceErase", sequences},
    {"", "SequenceInsert", sequences},
    {"", "SequenceLength", integers},
    {"", "Shape", integers},
    {"", "Sign", constant},
    {"", "Size", integers},
    {"", "SplitToSequence", sequences},
    {"", "StringConcat", integers},
    {"", "StringNormalizer", integers},
    {"", "StringSplit", integers},
    {"", "TfIdfVectorizer", maps},
    {"", "Xor", integers},
    {"ai.onnx.ml", "Binarizer", constant},
    {"ai.onnx.ml", "CastMap", maps},
    {"ai.onnx.ml", "CategoryMapper", maps},
    {"ai.onnx.ml", "DictVectorizer", maps},
    {"ai.onnx.ml", "LabelEncoder", maps},
    {"ai.onnx.ml", "OneHotEncoder", constant},
    {"ai.onnx.ml", "SVMClassifier", classifier},
    {"ai.onnx.ml", "TreeEnsemble", jumps},
    {"ai.onnx.ml", "TreeEnsembleClassifier", jumps},
    {"ai.onnx.ml", "TreeEnsembleRegressor", jumps},
    {"ai.onnx.ml", "ZipMap", maps},
    {"ai.onnx.preview.training", "Adagrad", learns},
    {"ai.onnx.preview.training", "Adam", learns},
    {"ai.onnx.preview.training", "Gradient", learns},
    {"ai.onnx.preview.training", "Momentum", learns},
    {"com.microsoft", "DynamicQuantizeLSTM", rounds},
    {"com.microsoft", "DynamicQuantizeMatMul", rounds},
    {"com.microsoft", "MatMulIntegerToFloat", rounds},
    {"com.microsoft", "QAttention", rounds},
    {"com.microsoft", "QGemm", rounds},
    {"com.microsoft", "QLinearAdd", rounds},
    {"com.microsoft", "QLinearAveragePool", rounds},
    {"com.microsoft", "QLinearConcat", rounds},
    {"com.microsoft", "QLinearGlobalAveragePool", rounds},
    {"com.microsoft", "QLinearLeakyRelu", rounds},
    {"com.microsoft", "QLinearMul", rounds},
    {"com.microsoft", "QLinearSigmoid", rounds},
    {"com.microsoft", "QLinearSoftmax", rounds},
    {"com.microsoft", "QLinearWhere", rounds},
    {"com.microsoft", "DequantizeLinear", rounds},
    {"com.microsoft", "QuantizeLinear", rounds},
    {"com.microsoft", "QLinearConv", rounds},
    {"com.microsoft", "NhwcMaxPool", rounds},
    {"com.microsoft", "MatMulNBits", rounds},
    {"com.microsoft", "GatherBlockQuantized", rounds},
};

const char *gradient_reason(const struct op *op)
{
    if ((op->gradient && op->gradient != differentiate_zero) || op->compose)
        return NULL;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (strcmp(reasons[i].domain, op_domain(op)) == 0 && strcmp(reasons[i].name, op->name) == 0)
            return reasons[i].reason;
    return strcmp(op_domain(op), "mitral") == 0 ? made_here : NULL;
}
