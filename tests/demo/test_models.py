"""The demo's models are tied as it says."""

from __future__ import annotations

import numpy as np

from tiedio.demo import models


def test_the_language_model_scores_with_the_embedding_matrix_itself() -> None:
    model = models.language_model(vocabulary=30, width=4, length=6)
    output = model.get_layer("output")
    assert output.kernel is model.get_layer("embedding").embeddings
    assert output.kernel.shape == (30, 4)
    assert [id(one) for one in output.trainable_variables] == [id(output.bias), id(output.kernel)]
    assert model(np.zeros((2, 6), "int32")).shape == (2, 6, 30)


def test_the_convolutions_share_kernel_and_bias_and_differ_in_what_they_see() -> None:
    model = models.two_convolutions(3)
    near, wide = model.get_layer("near"), model.get_layer("wide")
    assert near.kernel is wide.kernel
    assert near.bias is wide.bias
    assert (near.padding, near.dilation_rate) != (wide.padding, wide.dilation_rate)
    assert len(model.trainable_variables) == 4


def test_the_other_outputs_use_the_matrix_too() -> None:
    reference = models.language_model(30, 4, 6, "reference")
    assert reference.get_layer("output").embedding is reference.get_layer("embedding")
    operation = models.language_model(30, 4, 6, "operation")
    assert operation(np.zeros((1, 6), "int32")).shape == (1, 6, 30)


def test_the_referring_output_comes_back_from_its_config() -> None:
    layer = models.language_model(30, 4, 6, "reference").get_layer("output")
    again = models.ReferringOutput.from_config(layer.get_config())
    assert again.embedding.get_config() == layer.embedding.get_config()
