"""Late chunking on a GPU: against early chunking, the bare forward pass, and padded batches.

Random weights of the real sizes: speed does not depend on them. ``bare`` is the encoder alone on
the very windows that the engine makes, without units and focus; ``encoder`` is the same with them.
``early`` is ``SentenceTransformer.encode_document`` on the same chunks in the same dtype, with its
own default batch size and with a larger one. ``padded`` is the engine with PyTorch's scaled dot
product attention. ``alone`` is the time of everything in front of the encoder: texts to windows.
Peak memory is the GPU's, above the loaded model.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    ModernBertConfig,
    NomicBertConfig,
    PreTrainedConfig,
)

from benchmarks.corpus import parent
from benchmarks.harness import (
    MIB,
    Ratios,
    minilm,
    parser,
    print_table,
    seconds_in_turns,
)
from benchmarks.throughput import WAYS, Recorder
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.encoders.local import focus_attention
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.local.unpadded import takes_unpadded
from tests.encoders.local.jina_v2.published import published_config, random_weights, save_checkpoint

_VOCABULARY = 30_522
_LARGE_BATCH = 256
# Parents, their characters, characters of a chunk; about 4.5 characters are a token here.
CASES = {
    "1,000 characters": (2_048, 1_000, 530),
    "30,000 characters": (64, 30_000, 530),
}


def _config(name: str) -> PreTrainedConfig:
    if name == "MiniLM-L6":
        return AutoConfig.from_pretrained(minilm())
    if name == "nomic-embed-text-v1.5":
        return NomicBertConfig(vocab_size=_VOCABULARY, max_position_embeddings=8_192)
    ends = {"pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102}
    ends |= {"bos_token_id": 101, "eos_token_id": 102}
    return ModernBertConfig(vocab_size=_VOCABULARY, **ends)


def save_model(name: str, folder: Path) -> str:
    """A model of the real size with random weights and MiniLM's tokenizer; its path."""
    torch.manual_seed(0)
    window = 256 if name == "MiniLM-L6" else 8_192
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    tokenizer.model_max_length = window
    if name == "jina-embeddings-v2-base":
        size = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
        config = published_config(vocab_size=_VOCABULARY, intermediate_size=3_072, **size)
        path = save_checkpoint(folder / "model", config, random_weights(config))
        tokenizer.save_pretrained(path)
        return str(path)
    model = AutoModel.from_config(_config(name))
    model.save_pretrained(folder / "raw")
    tokenizer.save_pretrained(folder / "raw")
    whole = SentenceTransformer(
        modules=[Transformer(str(folder / "raw")), Pooling(model.config.hidden_size, "mean")]
    )
    whole.max_seq_length = window
    whole.save(str(folder / "model"), create_model_card=False)
    return str(folder / "model")


MODELS = ("MiniLM-L6", "nomic-embed-text-v1.5", "modernbert-embed-base", "jina-embeddings-v2-base")


def measure(path: str, case: str, way: str, dtype: str, rounds: int) -> list[str]:
    """One row of the table, without the names of model, case and way."""
    n_parents, n_chars, chunk_chars = CASES[case]
    parents = [parent(n_chars - 17 * (seed % 9), chunk_chars, seed) for seed in range(n_parents)]
    texts = [p.chunk_text(i) for p in parents for i in range(len(p.spans))]
    engine, padded = (
        LateChunkEngine.from_pretrained(path, dtype=dtype, **WAYS[way]) for _ in range(2)
    )
    encoder = engine.encoder
    assert isinstance(encoder, LocalEncoder)
    early: Any = padded.encoder.model  # type: ignore[attr-defined]  # local
    attention = _attention(encoder.model)
    if takes_unpadded(early[0]):
        early[0].unpad_inputs = False
        early[0].model.set_attn_implementation(focus_attention.IMPLEMENTATION)
    recorder = Recorder(encoder)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    engine.embed(parents)
    peak = torch.cuda.max_memory_allocated() - before
    batches = recorder.stop()
    times = seconds_in_turns(
        {
            "bare": lambda: [encoder.forward(TokenBatch(b.ids, b.lengths)) for b in batches],
            "encoder": lambda: [encoder.forward(batch) for batch in batches],
            "late": lambda: engine.embed(parents),
            "alone": lambda: _plan(engine, parents),
            "padded": lambda: padded.embed(parents),
            "early": lambda: early.encode_document(texts, show_progress_bar=False),
            "early, large": lambda: early.encode_document(
                texts, show_progress_bar=False, batch_size=_LARGE_BATCH
            ),
        },
        rounds,
    )
    n_tokens = sum(int(batch.lengths.sum()) for batch in batches)
    late = times["late"]
    names = ("bare", "encoder", "early", "early, large", "padded", "alone")
    cells = [f"{times[name] / late:.2f}" for name in names]
    return [attention, f"{n_tokens / late:,.0f}", *cells, f"{peak / MIB:,.0f}"]


def _plan(engine: LateChunkEngine, parents: list[Parent]) -> None:
    """Everything before the encoder: tokens, windows, blocks."""
    flow: Any = engine._flow  # noqa: SLF001  # a part alone
    for _ in flow.planner.blocks(iter(parents), 4 * engine.encoder.batch_tokens):
        pass


def _attention(model: Any) -> str:
    config = getattr(model[0].model, "config", None)
    return str(getattr(config, "_attn_implementation", None) or "own")


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--dtype", default="auto")
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    arguments.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing is measured.")
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            path = save_model(name, Path(folder) / name)
            for case, way in itertools.product(options.cases, options.ways):
                row = measure(path, case, way, options.dtype, options.rounds)
                rows.append([name, case, way, *row])
                print(*rows[-1], sep=" | ", flush=True)
    columns = ["model", "parents", "way", "attention", "late tokens/s"]
    columns += ["bare / late", "encoder / late", "early / late", f"early, {_LARGE_BATCH} / late"]
    columns += ["padded / late", "alone / late", "peak MiB"]
    ratios = Ratios(labels=3, higher=columns[5:11])
    print_table("On a GPU", columns, rows, ratios, options.json)
    print("Times of the others over that of late chunking: above 1 late chunking is the faster.")


if __name__ == "__main__":
    main()
