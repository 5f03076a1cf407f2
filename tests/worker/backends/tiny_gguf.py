"""Writes a llama with random weights: 580 KB of real model file, made in less than a second.

    python tiny_gguf.py OUT.gguf                 write it
    python tiny_gguf.py OUT.gguf PORT MAX_TOKENS   write it and serve it with llama.cpp until stdin closes

MAX_TOKENS is the length of every answer, as the model is told never to end by itself; -1 for 32,768 tokens.
"""

import sys
from pathlib import Path

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT, WORDS = 2, 64, 4, 128, 32_768, 112
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    kinds = gguf.TokenType
    control = [(b"<unk>", kinds.UNKNOWN), (b"<s>", kinds.CONTROL), (b"</s>", kinds.CONTROL)]
    raw_bytes = [(f"<0x{byte:02X}>".encode(), kinds.BYTE) for byte in range(256)]
    characters = [(bytes([code]), kinds.NORMAL) for code in range(33, 127)]
    space = "\u2581"
    words = [(f"{space}w{number}".encode(), kinds.NORMAL) for number in range(WORDS)]
    tokens = [*control, *raw_bytes, (space.encode(), kinds.NORMAL), *characters, *words]
    scores = [-float(number) for number in range(len(tokens))]
    return [text for text, _ in tokens], scores, [int(kind) for _, kind in tokens]


def write_model(path: Path) -> None:
    tokens, scores, kinds = vocabulary()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    dice = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> None:
        writer.add_tensor(name, dice.normal(0, 0.2, shape).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    weight("token_embd.weight", len(tokens), WIDTH)
    weight("output.weight", len(tokens), WIDTH)
    norm("output_norm.weight")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        norm(f"{block}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weight(f"{block}.{part}.weight", WIDTH, WIDTH)
        weight(f"{block}.ffn_gate.weight", HIDDEN, WIDTH)
        weight(f"{block}.ffn_up.weight", HIDDEN, WIDTH)
        weight(f"{block}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path: Path, port: int, max_tokens: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 4 * CONTEXT
    params.n_parallel = 4
    params.warmup = False
    params.endpoint_slots = True
    params.n_predict = max_tokens
    params.sampling.ignore_eos = True
    server = xllamacpp.Server(params)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
