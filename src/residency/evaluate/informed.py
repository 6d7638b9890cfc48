"""Image features and the texts of the answers in, a linear probe whose class weights are blended with the texts out.

The text-informed linear probe of LP++ (Huang 2024, arXiv 2404.02285), as Shakeri 2024 (arXiv 2409.03868) uses it as the
floor for few annotated medical images: the logit of class k is f . (w_k + alpha_k t_k), with w_k, alpha_k learned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from residency.evaluate.metric import Floats


class TextInformed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Logistic regression whose class weights may lean on the classes' text embeddings, both under one L2 penalty.

    `texts` maps a class to its embedding [D] (a class without one leans on nothing); `C` is the inverse penalty.
    """

    def __init__(self, texts: Mapping[Any, NDArray[Any]], C: float = 1.0, balanced: bool = True) -> None:
        self.texts, self.C, self.balanced = texts, C, balanced

    def fit(self, features_ND: NDArray[Any], labels_N: NDArray[Any]) -> "TextInformed":
        """Find w_k, alpha_k and the intercepts by L-BFGS; the problem is convex."""
        self.classes_, rows_N = np.unique(labels_N, return_inverse=True)
        K, D = len(self.classes_), features_ND.shape[1]
        text_KD = self._unit_texts(D)
        told_NK = features_ND @ text_KD.T
        truth_NK = np.eye(K)[rows_N]
        weight_N1 = (compute_sample_weight("balanced", labels_N) if self.balanced else np.ones(len(rows_N)))[:, None]

        def loss(flat: Floats) -> tuple[float, Floats]:
            w_KD, alpha_K, bias_K = flat[: K * D].reshape(K, D), flat[K * D : -K], flat[-K:]
            logits_NK = features_ND @ w_KD.T + alpha_K * told_NK + bias_K
            wrong_NK = self.C * weight_N1 * (softmax(logits_NK, axis=1) - truth_NK)
            total = -self.C * float((weight_N1 * truth_NK * log_softmax(logits_NK, axis=1)).sum())
            slopes = (wrong_NK.T @ features_ND + w_KD, (wrong_NK * told_NK).sum(0) + alpha_K, wrong_NK.sum(0))
            penalty = 0.5 * float((w_KD**2).sum() + (alpha_K**2).sum())
            return total + penalty, np.concatenate([slope.ravel() for slope in slopes])

        found = minimize(loss, np.zeros(K * D + 2 * K), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
        self.alpha_ = found[K * D : -K]
        self.coef_ = found[: K * D].reshape(K, D) + self.alpha_[:, None] * text_KD
        self.intercept_ = found[-K:]
        return self

    def predict_proba(self, asked_MD: NDArray[Any]) -> Floats:
        """Return each class's probability (M, K)."""
        shares_MK: Floats = softmax(asked_MD @ self.coef_.T + self.intercept_, axis=1)
        return shares_MK

    def _unit_texts(self, width: int) -> Floats:
        """Return the classes' embeddings (K, D) about their mean, at length 1; 0 where a class has none."""
        there = [label in self.texts for label in self.classes_.tolist()]
        text_KD = np.zeros((len(there), width))
        if any(there):
            held = np.stack([self.texts[label] for label in self.classes_[there].tolist()]).astype(np.float64)
            held = held - held.mean(axis=0) if len(held) > 1 else held
            text_KD[there] = held / np.maximum(np.linalg.norm(held, axis=1, keepdims=True), 1e-12)
        return text_KD
