"""Who takes part: each takes texts and gives the chunks it made and their vectors.

All get the same model, dtype and texts. Ours, early chunking and the published algorithm get
chonkie's own chunks, splitting included, so that what differs is the embedding; afterthoughts
packs sentences up to the same number of tokens. Peers run with their own batch settings.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from chonkie import LateChunker, RecursiveChunker
from chonkie.embeddings import SentenceTransformerEmbeddings
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, Parent

Pair = tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """What a contender made of the texts.

    Args:
        n_chars: Characters of text in all chunks.
        n_chunks: Vectors.
        n_naive: Chunks known to be embedded without their context.
    """

    n_chars: int
    n_chunks: int
    n_naive: int = 0


Contender = Callable[[Sequence[str]], Outcome]


def load(model: str, dtype: str) -> SentenceTransformer:
    """The model as its users load it, in a dtype."""
    wanted = getattr(torch, dtype)
    loaded = SentenceTransformer(model, model_kwargs={"dtype": wanted})
    return loaded.to(dtype=wanted).eval()


def splitter(model: SentenceTransformer, chunk_tokens: int) -> Callable[[str], list[Pair]]:
    """Chonkie's recursive splitter, as its late chunker uses it."""
    inner = RecursiveChunker(tokenizer=model.tokenizer, chunk_size=chunk_tokens)
    return lambda text: [(chunk.start_index, chunk.end_index) for chunk in inner.chunk(text)]


def ours(model: str, dtype: str, chunk_tokens: int, **options: Any) -> Contender:
    """This package."""
    engine = LateChunkEngine.from_pretrained(model, dtype=dtype, **options)
    split = splitter(engine.encoder.model, chunk_tokens)  # type: ignore[attr-defined]  # local

    def run(texts: Sequence[str]) -> Outcome:
        n_chars = n_chunks = n_naive = 0

        def parents() -> Iterator[Parent]:
            nonlocal n_chars
            for text in texts:
                spans = split(text)
                n_chars += sum(end - start for start, end in spans)
                yield Parent(text, spans)

        for result in engine.embed_iter(parents()):
            n_chunks += len(result)
            n_naive += result.modes.count("standalone")
        return Outcome(n_chars, n_chunks, n_naive)

    return run


def early(model: str, dtype: str, chunk_tokens: int) -> Contender:
    """Early chunking with sentence-transformers, as most people do it today."""
    loaded = load(model, dtype)
    split = splitter(loaded, chunk_tokens)

    def run(texts: Sequence[str]) -> Outcome:
        chunks = [text[start:end] for text in texts for start, end in split(text)]
        vectors = loaded.encode_document(chunks, show_progress_bar=False, convert_to_tensor=True)
        return Outcome(sum(map(len, chunks)), len(vectors), len(chunks))

    return run


def chonkie(model: str, dtype: str, chunk_tokens: int) -> Contender:
    """Chonkie's LateChunker, one document at a time, which is all that it offers."""
    embeddings = SentenceTransformerEmbeddings(load(model, dtype))
    chunker = LateChunker(embedding_model=embeddings, chunk_size=chunk_tokens)

    def run(texts: Sequence[str]) -> Outcome:
        documents = [chunker.chunk(text) for text in texts]
        n_chars = sum(chunk.end_index - chunk.start_index for doc in documents for chunk in doc)
        # Where token counts do not add up it embeds every chunk alone, and says so nowhere else.
        naive = [doc for doc in documents if all(chunk.token_count == 1 for chunk in doc)]
        return Outcome(n_chars, sum(map(len, documents)), sum(map(len, naive)))

    return run


def afterthoughts(model: str, dtype: str, chunk_tokens: int) -> Contender:
    """Afterthoughts' LateEncoder, with as many tokens a chunk."""
    from afterthoughts import LateEncoder  # noqa: PLC0415  # its import is heavy

    encoder = LateEncoder(model, model_dtype=getattr(torch, dtype), normalize=True)
    longest = load(model, dtype).max_seq_length

    def run(texts: Sequence[str]) -> Outcome:
        frame, vectors = encoder.encode(
            list(texts),
            max_length=longest,
            max_chunk_sents=None,
            max_chunk_tokens=chunk_tokens,
            show_progress=False,
        )
        return Outcome(sum(map(len, frame["chunk"].to_list())), len(vectors))

    return run


def published(model: str, dtype: str, chunk_tokens: int) -> Contender:
    """The published algorithm, written plainly: windows, chunked pooling, one text at a time.

    Windows overlap by half; of later windows the overlap's rows are dropped. All token embeddings
    of a text are kept until it is pooled.
    """
    loaded = load(model, dtype)
    split = splitter(loaded, chunk_tokens)

    def run(texts: Sequence[str]) -> Outcome:
        n_chars = n_chunks = 0
        for text in texts:
            spans = split(text)
            vectors = _chunked_pooling(loaded, text, spans)
            n_chars += sum(end - start for start, end in spans)
            n_chunks += len(vectors)
        return Outcome(n_chars, n_chunks)

    return run


@torch.inference_mode()
def _chunked_pooling(
    model: SentenceTransformer, text: str, spans: Sequence[Pair]
) -> NDArray[np.float32]:
    encoded = model.tokenizer(text, return_offsets_mapping=True, truncation=False, verbose=False)
    ids = torch.tensor([encoded["input_ids"]], device=model.device)
    window = int(model.max_seq_length or ids.shape[1])
    overlap = window // 2
    rows = []
    for start in range(0, max(1, ids.shape[1] - overlap), window - overlap):
        part = ids[:, start : start + window]
        hidden = model.transformers_model(
            input_ids=part, attention_mask=torch.ones_like(part)
        ).last_hidden_state[0]
        rows.append(hidden if start == 0 else hidden[overlap:])
    tokens = torch.cat(rows).float()
    ends = [end for _, end in encoded["offset_mapping"][1:-1]]
    vectors = []
    for start, end in spans:
        first, last = bisect.bisect_right(ends, start), bisect.bisect_left(ends, end) + 1
        vectors.append(tokens[1 + first : 1 + max(last, first + 1)].mean(dim=0))
    pooled = torch.nn.functional.normalize(torch.stack(vectors), dim=1)
    result: NDArray[np.float32] = pooled.cpu().numpy()
    return result
