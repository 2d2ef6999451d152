"""Near-duplicates of one file by other people's tools: `PYTHON benchmarks/deduplicating.py TOOL FILE`.

Run by `benchmarks.checking` in an environment of the tools' own, so nothing of cai is imported. The texts are what
`cai check` compares: prompt and both answers. Prints how many texts are found to be near-duplicates of an earlier one.

- `datasketch`: MinHash of 128 functions over runs of three words, MinHashLSH at 0.8, in memory.
- `datatrove`: its four steps over local folders, 16 buckets of 8 hashes over runs of three words, one worker.
- `semhash`: embeddings, with the vectors that come inside the package wordllama (its own default is on a hub), at 0.95.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUN = 3
_WORD = re.compile(r"\w+")


def texts(path: Path) -> Iterator[str]:
    """Yield each row's prompt and answers."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield "\n".join((row["prompt"], row["chosen"], row["rejected"]))


def datasketch(path: Path) -> int:
    """Return how many texts have a near-duplicate before them, by datasketch."""
    from datasketch import MinHash, MinHashLSH  # noqa: PLC0415

    index = MinHashLSH(threshold=0.8, num_perm=128)
    found = 0
    for number, text in enumerate(texts(path)):
        words = _WORD.findall(text.casefold())
        runs = {" ".join(words[start : start + RUN]).encode() for start in range(max(1, len(words) - RUN + 1))}
        signature = MinHash(num_perm=128)
        signature.update_batch(list(runs))
        found += bool(index.query(signature))
        index.insert(str(number), signature)
    return found


def datatrove(path: Path) -> int:
    """Return how many texts datatrove would remove."""
    from datatrove.data import Document  # noqa: PLC0415
    from datatrove.executor import LocalPipelineExecutor  # noqa: PLC0415
    from datatrove.pipeline.dedup.minhash import (  # noqa: PLC0415
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    settings = MinhashConfig(n_grams=RUN, num_buckets=16, hashes_per_bucket=8)
    kept = 0

    def documents(_data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:  # noqa: ARG001
        for number, text in enumerate(texts(path)):
            yield Document(text=text, id=str(number))

    def count(data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:  # noqa: ARG001
        nonlocal kept
        for document in data:
            kept += 1
            yield document

    with tempfile.TemporaryDirectory() as folder:
        steps: list[tuple[int, list[Any]]] = [
            (1, [documents, MinhashDedupSignature(f"{folder}/signatures", config=settings)]),
            (16, [MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=settings)]),
            (1, [MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=settings)]),
            (1, [documents, MinhashDedupFilter(f"{folder}/remove"), count]),
        ]
        for number, (tasks, pipeline) in enumerate(steps):
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{folder}/logs-{number}").run()
    return sum(1 for _ in texts(path)) - kept


def semhash(path: Path) -> int:
    """Return how many texts semhash would remove."""
    import wordllama  # noqa: PLC0415
    from model2vec import StaticModel  # noqa: PLC0415
    from safetensors.numpy import load_file  # noqa: PLC0415
    from semhash import SemHash  # noqa: PLC0415
    from tokenizers import Tokenizer  # noqa: PLC0415

    folder = Path(wordllama.__file__).parent
    (vectors,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    records = list(texts(path))
    index = SemHash.from_records(records=records, model=StaticModel(vectors, tokenizer))
    return len(records) - len(index.self_deduplicate(threshold=0.95).selected)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "found": {"datasketch": datasketch, "datatrove": datatrove, "semhash": semhash}[sys.argv[1]](
                    Path(sys.argv[2])
                )
            }
        )
    )
