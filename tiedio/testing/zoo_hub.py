"""Models of KerasHub in tiny configurations: nothing is downloaded, every weight is random.

They stand apart from the zoo, which needs Keras alone. KerasHub is imported when a case is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tiedio.testing.zoo_base import Case, Groups, floats, integers, trained

BUILDERS: dict[str, Callable[[], Case]] = {}

_WORDS, _LENGTH, _WIDTH = 11, 5, 8
_TINY: dict[str, Any] = {
    "vocabulary_size": _WORDS,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": _WIDTH,
    "intermediate_dim": 6,
}
_SHORT = _TINY | {"max_sequence_length": _LENGTH}


def build_case(name: str) -> Case:
    """Build a case afresh.

    Args:
        name: one of `case_names()`.

    Returns:
        The case, with its model built and trained a little.
    """
    return replace(BUILDERS[name](), name=name)


def case_names() -> list[str]:
    """The names of all cases.

    Returns:
        The names, in alphabetical order.
    """
    return sorted(BUILDERS)


def _case(build: Callable[[], Case]) -> Callable[[], Case]:
    BUILDERS[build.__name__] = build
    return build


def _models() -> Any:
    import keras_hub

    return keras_hub.models


def _layers() -> Any:
    import keras_hub

    return keras_hub.layers


def _one_text() -> dict[str, Any]:
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "int32")
    return {"token_ids": integers(_WORDS, 2, _LENGTH), "padding_mask": mask}


def _with_segments() -> dict[str, Any]:
    return {**_one_text(), "segment_ids": np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]], "int32")}


def _two_texts() -> dict[str, Any]:
    given = {f"encoder_{name}": value for name, value in _one_text().items()}
    return given | {f"decoder_{name}": value[:, ::-1].copy() for name, value in _one_text().items()}


def _trained_case(model: Any, inputs: Any, same: Callable[[Any], Groups]) -> Case:
    """Two steps of Adam towards random numbers of the outputs' shapes."""
    targets = keras.tree.map_structure(lambda output: floats(*output.shape), model(inputs))
    return Case(trained(model, inputs, targets), inputs, targets, same=same)


def _embedding(model: Any) -> Groups:
    """The embedding that a backbone holds is the layer in its graph; what it reverses is one matrix."""
    layer = model.token_embedding
    return [[layer, model.get_layer("token_embedding")], [layer.embeddings, model.trainable_variables[0]]]


@_case
def gpt2_backbone() -> Case:
    return _trained_case(_models().GPT2Backbone(**_SHORT | {"num_layers": 2}), _one_text(), _embedding)


@_case
def bert_backbone() -> Case:
    return _trained_case(_models().BertBackbone(**_SHORT), _with_segments(), _embedding)


@_case
def t5_backbone_encodes_and_decodes_with_one_embedding() -> Case:
    return _trained_case(_models().T5Backbone(**_TINY), _two_texts(), _embedding)


@_case
def bart_backbone_encodes_and_decodes_with_one_embedding() -> Case:
    return _trained_case(_models().BartBackbone(**_SHORT), _two_texts(), _embedding)


@_case
def opt_backbone_whose_embedding_is_a_part_of_a_layer() -> Case:
    def same(model: Any) -> Groups:
        return [[model.token_embedding, model.embeddings.token_embedding]]

    return _trained_case(_models().OPTBackbone(**_SHORT), _one_text(), same)


@_case
def albert_backbone_calls_one_block_twice() -> Case:
    def same(model: Any) -> Groups:
        block = model.get_layer("group_0_inner_layer_0")
        return [[block, *(node.operation for node in block._inbound_nodes)], *_embedding(model)]

    config = _SHORT | {"num_layers": 2, "num_groups": 1, "embedding_dim": 4}
    return _trained_case(_models().AlbertBackbone(**config), _with_segments(), same)


@_case
def gemma_backbone_multiplies_by_a_constant() -> Case:
    config = {key: value for key, value in _TINY.items() if key != "num_heads"}
    model = _models().GemmaBackbone(**config, num_query_heads=2, num_key_value_heads=1, head_dim=4)
    return _trained_case(model, _one_text(), _embedding)


@_case
def llama_backbone_with_a_block_that_has_no_config() -> Case:
    config = {key: value for key, value in _TINY.items() if key != "num_heads"}
    model = _models().LlamaBackbone(**config, num_query_heads=2, num_key_value_heads=1)

    def same(model: Any) -> Groups:
        return [[model.token_embedding, model.get_layer("token_embedding")]]

    return _trained_case(model, _one_text(), same)


@_case
def layers_in_a_functional_model_with_a_head_on_the_embedding() -> Case:
    hub = _layers()
    tokens = keras.Input((_LENGTH,), dtype="int32")
    positions = keras.Input((2,), dtype="int32")
    embedding = hub.TokenAndPositionEmbedding(_WORDS, _LENGTH, _WIDTH, mask_zero=True, name="embedding")
    encoder = hub.TransformerEncoder(6, 2, dropout=0.2, name="encoder")
    x = encoder(encoder(embedding(tokens)))
    x = hub.TransformerDecoder(6, 2, dropout=0.2, name="decoder")(x, x)
    x = hub.RotaryEmbedding(name="rotary")(hub.FNetEncoder(6, dropout=0.2, name="fourier")(x))
    x = keras.layers.Add()([x, hub.SinePositionEncoding()(x)])
    head = hub.MaskedLMHead(token_embedding=embedding.token_embedding, name="head")

    def same(model: Any) -> Groups:
        layer = model.get_layer("embedding").token_embedding
        first, second = model.get_layer("encoder")._inbound_nodes
        return [
            [layer, model.get_layer("head").token_embedding],
            [layer.embeddings, model.get_layer("head").token_embedding.embeddings],
            [first.operation, second.operation],
        ]

    model = keras.Model([tokens, positions], head(x, positions))
    return _trained_case(model, [integers(_WORDS, 2, _LENGTH), integers(_LENGTH, 2, 2)], same)


@_case
def cached_attention_is_called_twice_and_an_embedding_reversed() -> Case:
    sequence = keras.Input((_LENGTH, _WIDTH))
    tokens = keras.Input((_LENGTH,), dtype="int32")
    attention = _layers().CachedMultiHeadAttention(2, 4, dropout=0.2, name="attention")
    embedding = keras.layers.ReversibleEmbedding(_WORDS, _WIDTH, name="embedding")
    inner = attention(sequence, attention(sequence, sequence))
    outputs = embedding(keras.layers.Add()([inner, embedding(tokens)]), reverse=True)

    def same(model: Any) -> Groups:
        return [
            [node.operation for node in model.get_layer(name)._inbound_nodes] for name in ("attention", "embedding")
        ]

    model = keras.Model([sequence, tokens], outputs)
    return _trained_case(model, [floats(2, _LENGTH, _WIDTH), integers(_WORDS, 2, _LENGTH)], same)


@_case
def gpt2_causal_lm_with_a_sampler_that_draws() -> Case:
    hub = _models()
    model = hub.GPT2CausalLM(hub.GPT2Backbone(**_SHORT))
    model.compile(optimizer=keras.optimizers.Adam(0.01), sampler=_sampler(), run_eagerly=True)
    inputs, targets = _one_text(), integers(_WORDS, 2, _LENGTH, seed=1)
    model.train_on_batch(inputs, targets)

    def same(model: Any) -> Groups:
        embedding = model.backbone.token_embedding
        return [[embedding, *(node.operation for node in embedding._inbound_nodes)]]

    return Case(model, inputs, targets, same=same)


def _sampler() -> Any:
    import keras_hub

    sampler = keras_hub.samplers.RandomSampler(seed=3)
    sampler.seed_generator.next()  # drawn from already: its state stands in no config
    return sampler


@_case
def bert_masked_lm_whose_head_is_the_embedding() -> Case:
    hub = _models()
    model = hub.BertMaskedLM(hub.BertBackbone(**_SHORT))
    model.compile(optimizer=keras.optimizers.Adam(0.01), run_eagerly=True)
    inputs = {**_with_segments(), "mask_positions": integers(_LENGTH, 2, 2)}
    targets = integers(_WORDS, 2, 2, seed=1)
    model.train_on_batch(inputs, targets)

    def same(model: Any) -> Groups:
        return [[model.backbone.token_embedding, model.masked_lm_head.token_embedding]]

    return Case(model, inputs, targets, same=same)


def _tasks_with_words() -> dict[str, Callable[[], Any]]:
    """Tasks with a tokenizer of a few words."""
    hub = _models()

    def gpt2() -> Any:
        words = ["!", "a", "b", "ab", "\u0120a", "<|endoftext|>", "\u0120"]
        tokenizer = hub.GPT2Tokenizer({word: n for n, word in enumerate(words)}, ["a b", "\u0120 a"])
        preprocessor = hub.GPT2CausalLMPreprocessor(tokenizer, sequence_length=_LENGTH)
        return hub.GPT2CausalLM(hub.GPT2Backbone(**_SHORT), preprocessor)

    def bert() -> Any:
        tokenizer = hub.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c"])
        preprocessor = hub.BertTextClassifierPreprocessor(tokenizer, sequence_length=_LENGTH)
        return hub.BertTextClassifier(hub.BertBackbone(**_SHORT), 2, preprocessor)

    return {"gpt2": gpt2, "bert": bert}


def task_with_words(name: str) -> Any:
    """A task that takes text, with a tokenizer of a few words.

    Args:
        name: `gpt2` (it generates text) or `bert` (it classifies text).

    Returns:
        The task, as its constructor compiles it.
    """
    return _tasks_with_words()[name]()
