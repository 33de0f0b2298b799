"""Times Hugging Face's tokenizers for compare_tokenizers; the counterpart of tokenizer_bench.

  tokenizer_peer.py encode TEXT TOKENIZER             TOKENIZER: a tokenizer.json
  tokenizer_peer.py train TEXT VOCAB_SIZE TOKENIZER   trains with TOKENIZER's pre-tokenizer

For each line on standard input one round is run, and one line of JSON written.
"""

import array
import gzip
import json
import sys
import time
import zlib

import tokenizers

PIECE_BYTES = 16 << 10


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace").encode("utf-8")


def cut(data):
    """Pieces of at least PIECE_BYTES that end behind a line end."""
    pieces = []
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin + min(PIECE_BYTES, len(data) - begin) - 1)
        end = len(data) if end < 0 else end + 1
        pieces.append(data[begin:end].decode("utf-8"))
        begin = end
    return pieces


def encode(pieces, file):
    tokenizer = tokenizers.Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = True  # special tokens in the text are text

    def encoding(encode_batch):
        """The batch and its seconds; the batch is made in one call, the library's fastest way."""
        begin = time.perf_counter()
        result = encode_batch(pieces, add_special_tokens=False)
        return result, time.perf_counter() - begin

    for _ in sys.stdin:
        result, seconds = encoding(tokenizer.encode_batch_fast)
        crc, tokens = 0, 0
        for one in result:
            ids = array.array("i", one.ids)
            tokens += len(ids)
            crc = zlib.crc32(ids.tobytes(), crc)
        print(json.dumps({"seconds": seconds, "tokens": tokens, "crc": crc}), flush=True)


def symbols_to_bytes():
    """The characters that byte-level vocabularies write bytes as."""
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in prints]
    table = {chr(b): b for b in prints}
    table.update({chr(256 + n): b for n, b in enumerate(others)})
    return table


def train(pieces, vocab_size, file):
    loaded = tokenizers.Tokenizer.from_file(file)
    special = [t["content"] for t in json.loads(loaded.to_str())["added_tokens"] if t["special"]]
    table = symbols_to_bytes()
    for _ in sys.stdin:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = loaded.pre_tokenizer
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special,
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        begin = time.perf_counter()
        tokenizer.train_from_iterator(pieces, trainer)
        seconds = time.perf_counter() - begin
        crc = 0
        for merge in json.loads(tokenizer.to_str())["model"]["merges"]:
            crc = zlib.crc32(bytes(table[c] for c in "".join(merge)) + b"\n", crc)
        result = {"seconds": seconds, "tokens": tokenizer.get_vocab_size(), "crc": crc}
        print(json.dumps(result), flush=True)


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "encode":
        encode(cut(read(sys.argv[2])), sys.argv[3])
    elif len(sys.argv) == 5 and sys.argv[1] == "train":
        train(cut(read(sys.argv[2])), int(sys.argv[3]), sys.argv[4])
    else:
        sys.exit(__doc__)


main()
