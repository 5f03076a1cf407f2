"""Serves a llama with random weights by a real llama.cpp: `python tiny_llama.py MODEL.gguf PORT MAX_TOKENS`.

It needs xllamacpp and nothing else, so stack/llama.py runs it in a venv of its own. The file of the model is 580 KB. It
is written unless it exists, so that another model can be served as well. MAX_TOKENS is the length of every answer,
because the model is told never to end by itself; -1: 32,768 tokens; 0: the model ends by itself.
"""

import random
import struct
import sys
import threading
from array import array
from pathlib import Path
from typing import Any

LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT, WORDS = 2, 64, 4, 128, 32_768, 112
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
ALIGNMENT = 32
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9  # the types of values in a GGUF file
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # the kinds of tokens


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """Return the texts, the scores and the kinds of all tokens."""
    control = [(b"<unk>", UNKNOWN), (b"<s>", CONTROL), (b"</s>", CONTROL)]
    raw_bytes = [(f"<0x{byte:02X}>".encode(), BYTE) for byte in range(256)]
    characters = [(bytes([code]), NORMAL) for code in range(33, 127)]
    space = "\u2581"
    words = [(f"{space}w{number}".encode(), NORMAL) for number in range(WORDS)]
    tokens = [*control, *raw_bytes, (space.encode(), NORMAL), *characters, *words]
    scores = [-float(number) for number in range(len(tokens))]
    return [text for text, _ in tokens], scores, [kind for _, kind in tokens]


def string(text: str | bytes) -> bytes:
    """Encode a text."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, of: Any) -> bytes:
    """Encode a value with its type."""
    if isinstance(of, list):
        items = b"".join(value(kind, item)[4:] for item in of)
        return struct.pack("<IIQ", ARRAY, kind, len(of)) + items
    if kind == STRING:
        return struct.pack("<I", kind) + string(of)
    return struct.pack("<I" + {UINT32: "I", INT32: "i", FLOAT32: "f"}[kind], kind, of)


def metadata() -> dict[str, bytes]:
    """Return what the file says about the model."""
    tokens, scores, kinds = vocabulary()
    numbers = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": len(tokens),
    }
    return {
        "general.architecture": value(STRING, "llama"),
        **{f"llama.{name}": value(UINT32, number) for name, number in numbers.items()},
        "llama.attention.layer_norm_rms_epsilon": value(FLOAT32, 1e-5),
        "tokenizer.ggml.model": value(STRING, "llama"),
        "tokenizer.ggml.tokens": value(STRING, tokens),
        "tokenizer.ggml.scores": value(FLOAT32, scores),
        "tokenizer.ggml.token_type": value(INT32, kinds),
        "tokenizer.ggml.bos_token_id": value(UINT32, 1),
        "tokenizer.ggml.eos_token_id": value(UINT32, 2),
        "tokenizer.chat_template": value(STRING, TEMPLATE),
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, the longest stride first."""
    tokens = len(vocabulary()[0])
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (tokens, WIDTH), "output.weight": (tokens, WIDTH)}
    found["output_norm.weight"] = (WIDTH,)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        found |= {f"{block}.{part}_norm.weight": (WIDTH,) for part in ("attn", "ffn")}
        found |= {f"{block}.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        found |= {f"{block}.ffn_{part}.weight": (HIDDEN, WIDTH) for part in ("gate", "up")}
        found[f"{block}.ffn_down.weight"] = (WIDTH, HIDDEN)
    return found


def write_model(path: Path) -> None:
    """Write the model. It is the same every time."""
    dice = random.Random(7)  # noqa: S311 - of weights
    facts, tensors = metadata(), shapes()
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(facts))
    head += b"".join(string(name) + encoded for name, encoded in facts.items())
    data = b""
    for name, shape in tensors.items():
        size = WIDTH if len(shape) == 1 else shape[0] * shape[1]
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), 0, len(data))
        data += array("f", [1.0 if len(shape) == 1 else dice.gauss(0, 0.2) for _ in range(size)]).tobytes()
        data += bytes(-len(data) % ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + data)


def serve(path: Path, port: int, max_tokens: int) -> None:
    """Serve the model until this process is killed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 4 * (CONTEXT if max_tokens else 4096)
    params.n_parallel = 4
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_slots = params.endpoint_metrics = True
    if not max_tokens:
        params.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"  # for any model
    else:
        params.n_predict = max_tokens
        params.sampling.ignore_eos = True
    server = xllamacpp.Server(params)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    model, port, max_tokens = sys.argv[1:]
    if not Path(model).exists():
        write_model(Path(model))
    serve(Path(model), int(port), int(max_tokens))
