"""Models of scikit-learn by skl2onnx, one of each kind: sklearn_cases.py OUT writes them as cases with scikit-learn's own outputs.

What skl2onnx 1.20 converts into something else than scikit-learn computes (ONNX Runtime differs from scikit-learn there too) is left out: labels
of QuadraticDiscriminantAnalysis and of SGDClassifier with three classes, probabilities of LinearDiscriminantAnalysis with two,
and GaussianProcessRegressor, whose sums cancel in float32.

Features lie on a coarse grid, so that no comparison with a tree's threshold hangs on the last bit of a float.
"""

import pathlib
import sys
import warnings

import numpy as np
from cases import write_case
from skl2onnx import to_onnx
from sklearn import (datasets, decomposition, discriminant_analysis, ensemble, linear_model, naive_bayes, neighbors,
                     neural_network, pipeline, preprocessing, svm, tree)

CLASSIFIERS = {
    "logistic": linear_model.LogisticRegression(max_iter=500),
    "sgd": linear_model.SGDClassifier(random_state=0, loss="log_loss"),
    "ridge": linear_model.RidgeClassifier(),
    "perceptron": linear_model.Perceptron(),
    "svc_rbf": svm.SVC(),
    "svc_polynomial": svm.SVC(kernel="poly"),
    "svc_sigmoid": svm.SVC(kernel="sigmoid"),
    "svc_linear": svm.LinearSVC(),
    "svc_nu": svm.NuSVC(nu=0.2),
    "tree": tree.DecisionTreeClassifier(max_depth=6, random_state=0),
    "extra_tree": tree.ExtraTreeClassifier(max_depth=6, random_state=0),
    "forest": ensemble.RandomForestClassifier(12, random_state=0),
    "extra_trees": ensemble.ExtraTreesClassifier(12, random_state=0),
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=12, random_state=0),
    "adaboost": ensemble.AdaBoostClassifier(n_estimators=8, random_state=0),
    "bagging": ensemble.BaggingClassifier(n_estimators=6, random_state=0),
    "bayes_gaussian": naive_bayes.GaussianNB(),
    "bayes_bernoulli": naive_bayes.BernoulliNB(),
    "neighbours": neighbors.KNeighborsClassifier(3),
    "discriminant_linear": discriminant_analysis.LinearDiscriminantAnalysis(),
    "perceptrons": neural_network.MLPClassifier((12,), max_iter=80, random_state=0),
    "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(4), linear_model.LogisticRegression()),
    "voting": ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())], voting="soft", flatten_transform=False),
    "stacking": ensemble.StackingClassifier([("a", linear_model.LogisticRegression()),
                                             ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=0))]),
}
REGRESSORS = {
    "linear": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(),
    "lasso": linear_model.Lasso(0.01),
    "elastic": linear_model.ElasticNet(0.01),
    "bayesian": linear_model.BayesianRidge(),
    "huber": linear_model.HuberRegressor(max_iter=500),
    "poisson": linear_model.PoissonRegressor(),
    "lars": linear_model.Lars(n_nonzero_coefs=5), # all eight: two features repeat others, and large coefficients cancel in float32
    "svr": svm.SVR(),
    "svr_linear": svm.LinearSVR(),
    "svr_nu": svm.NuSVR(),
    "tree": tree.DecisionTreeRegressor(max_depth=6, random_state=0),
    "forest": ensemble.RandomForestRegressor(12, random_state=0),
    "extra_trees": ensemble.ExtraTreesRegressor(12, random_state=0),
    "boosting": ensemble.GradientBoostingRegressor(n_estimators=12, random_state=0),
    "adaboost": ensemble.AdaBoostRegressor(n_estimators=8, random_state=0),
    "neighbours": neighbors.KNeighborsRegressor(3),
    "perceptrons": neural_network.MLPRegressor(hidden_layer_sizes=(12,), max_iter=80, random_state=0),
}
TRANSFORMERS = {
    "standard": preprocessing.StandardScaler(),
    "min_max": preprocessing.MinMaxScaler(),
    "max_abs": preprocessing.MaxAbsScaler(),
    "robust": preprocessing.RobustScaler(),
    "normalizer": preprocessing.Normalizer(),
    "binarizer": preprocessing.Binarizer(threshold=0.1),
    "polynomial": preprocessing.PolynomialFeatures(2),
    "power": preprocessing.PowerTransformer(),
    "one_hot": preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
    "pca": decomposition.PCA(4),
    "incremental_pca": decomposition.IncrementalPCA(4),
    "truncated_svd": decomposition.TruncatedSVD(4, random_state=0),
    "kernel_pca": decomposition.KernelPCA(3, kernel="rbf"),
}
DEVIATIONS = {("sgd", 3), ("discriminant_linear", 2)}
ROWS = 40  # compared; the models learn from more


def data(classes=2):
    x, y = datasets.make_classification(240, 8, n_informative=6, n_classes=classes, random_state=0)
    return np.round(x * 16).astype(np.float32) / 16, y


def write(folder, model, x, outputs, **options):
    """What the converter itself does not take is named and left out."""
    try:
        proto = to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=options or None)
    except Exception as error:
        print(f"skl2onnx does not convert {folder.name}: {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    write_case(folder, proto, {proto.graph.input[0].name: x[:ROWS]}, outputs)


def main(folder):
    warnings.simplefilter("ignore")
    for classes in (2, 3):
        x, y = data(classes)
        for name, model in CLASSIFIERS.items():
            if (name, classes) in DEVIATIONS:
                continue
            model.fit(x, y)
            # Converters differ in how they present the scores of classifiers without probabilities.
            options = {"zipmap": False} if hasattr(model, "predict_proba") else {}
            scores = model.predict_proba(x[:ROWS]).astype(np.float32) if hasattr(model, "predict_proba") else None
            write(folder / f"classifier_{name}_{classes}", model, x, [model.predict(x[:ROWS]).astype(np.int64), scores], **options)
    x, _ = data()
    target = x[:, 0] * 2 - x[:, 1] + 0.3 * x[:, 2] * x[:, 3]
    for name, model in REGRESSORS.items():
        model.fit(x, np.abs(target) if name == "poisson" else target)
        write(folder / f"regressor_{name}", model, x, [model.predict(x[:ROWS]).astype(np.float32).reshape(ROWS, 1)])
    for name, model in TRANSFORMERS.items():
        values = np.round(x) if name == "one_hot" else x
        model.fit(values)
        write(folder / f"transformer_{name}", model, values, [model.transform(values[:ROWS]).astype(np.float32)])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
