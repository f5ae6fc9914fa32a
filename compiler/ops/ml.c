/* Classical machine learning: domain ai.onnx.ml. */
#include "compiler/gradients/compose.h"

const struct op ops_ml[] = {
    {"ArrayFeatureExtractor", "ai.onnx.ml", .compose = compose_array_feature_extractor},
    {"Binarizer", "ai.onnx.ml", .traits = OP_ELEMENTWISE | OP_LAYOUT_ANY},
    {"CastMap", "ai.onnx.ml"},
    {"CategoryMapper", "ai.onnx.ml"},
    {"DictVectorizer", "ai.onnx.ml"},
    {"FeatureVectorizer", "ai.onnx.ml", .compose = compose_feature_vectorizer},
    {"Imputer", "ai.onnx.ml", .compose = compose_imputer},
    {"LabelEncoder", "ai.onnx.ml"},
    {"LinearClassifier", "ai.onnx.ml", .compose = compose_linear_classifier},
    {"LinearRegressor", "ai.onnx.ml", .compose = compose_linear_regressor},
    {"Normalizer", "ai.onnx.ml", .compose = compose_normalizer},
    {"OneHotEncoder", "ai.onnx.ml"},
    {"SVMClassifier", "ai.onnx.ml"},
    {"SVMRegressor", "ai.onnx.ml", .compose = compose_vector_regressor},
    {"Scaler", "ai.onnx.ml", .compose = compose_scaler},
    {"TreeEnsemble", "ai.onnx.ml"},
    {"TreeEnsembleClassifier", "ai.onnx.ml"},
    {"TreeEnsembleRegressor", "ai.onnx.ml"},
    {"ZipMap", "ai.onnx.ml"},
};
const size_t ops_ml_count = sizeof(ops_ml) / sizeof(ops_ml[0]);
