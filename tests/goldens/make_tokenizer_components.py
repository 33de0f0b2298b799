"""Makes tokenizer_components.json: small tokenizers, each with other components, and what the
`tokenizers` library (0.23.3 when this was made) makes of random texts with them.

    python make_tokenizer_components.py SEED N_TEXTS > tokenizer_components.json
"""
import json
import random
import sys

from tokenizers import Tokenizer, pre_tokenizers

MERGES = ["t h", "th e", "Ġ the", "i n", "in g", "Ġ a", "Ġ Ġ", "ĠĠ ĠĠ", "1 2", "12 3", "e r", "Ċ Ċ",
          "a a", "aa aa", "Ã ©", "ã ģ", "Ġ t", "o n"]


def added(token_id, content, **flags):
    entry = dict(id=token_id, content=content, single_word=False, lstrip=False, rstrip=False,
                 normalized=False, special=True)
    return entry | flags


def byte_level(prefix=False, regex=False):
    return dict(type="ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=regex)


def split(pattern, behavior, invert=False):
    return dict(type="Split", pattern=pattern, behavior=behavior, invert=invert)


def tokenizer(steps, tokens=(), pairs=False, **model):
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for merge in MERGES:
        vocab[merge.replace(" ", "")] = len(vocab)
    for word in model.pop("words", ()):
        vocab[word] = len(vocab)
    tokens = [added(vocab.get(t["content"], len(vocab) + i), **t) for i, t in enumerate(tokens)]
    merges = [m.split(" ") for m in MERGES] if pairs else MERGES
    return dict(version="1.0", truncation=None, padding=None, added_tokens=tokens, normalizer=None,
                pre_tokenizer=dict(type="Sequence", pretokenizers=steps), post_processor=None,
                decoder=byte_level(), model=dict(
                    type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                    end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                    vocab=vocab, merges=merges) | model)


GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def tokenizers_to_test():
    special = dict(content="<s>")
    yield tokenizer([byte_level(regex=True)], [special])
    yield tokenizer([byte_level(prefix=True, regex=True)], [special], pairs=True)
    yield tokenizer([split(dict(Regex=GPT4), "Isolated"), byte_level()], [special],
                    ignore_merges=True, words=["Ġthing", "theer", "aaaaa"])
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield tokenizer([split(dict(String=" "), behavior), byte_level()], [special])
        yield tokenizer([split(dict(Regex=r"\s*[aeiou]+"), behavior, True), byte_level()], [special])
    for individual in (True, False):
        yield tokenizer([dict(type="Digits", individual_digits=individual),
                         byte_level(prefix=True)], [special])
    yield tokenizer([split(dict(Regex=r"\S*?[,.]?(?=t|$)"), "Isolated"), byte_level()], [special])
    yield tokenizer([split(dict(Regex=r"^\s|[^\S\n]+|\P{L}{,2}\d"), "Isolated"), byte_level()])
    flags = [dict(content="<s>"), dict(content="<s>>", special=False),
             dict(content="<mask>", lstrip=True, normalized=True),
             dict(content="<r>", rstrip=True), dict(content="<b>", lstrip=True, rstrip=True),
             dict(content="<1>", single_word=True, lstrip=True), dict(content="Ġé", special=False),
             dict(content="the", single_word=True, special=False, normalized=True)]
    yield tokenizer([byte_level(regex=True)], flags)


PIECES = ["the", " the", "ing", "THE", "they", "1234", "12", " ", "  ", "\n", "\n\n", "\r\n", "\t",
          "aaaaaaa", "é", "e\u0301", "がｶ", "日本", "🙂", "٣", "½", "don't", "I'LL", "it'ſ", ",", "...",
          "<s>", "<s>>", "<mask>", "<r>", "<b>", "<1>", "<s", "Ġé", "_", "\u00a0", "\u180e", "\u200d",
          "\u2028", "\u0085", "\U00011f04", "\ua7cb", "\U0001f6dc", "thing", "x", "or", "t", "$"]


TEXTS = ["", "<r>  <mask>", "a <b>  <b> <mask>", "the<mask> the", "<s> <mask>\n<1>é <1>", "xthe the_",
         "  a   <mask>", "<r>\n\n<r> the"]


def cases(spec, rng, n):
    library = Tokenizer.from_str(json.dumps(spec))
    size = library.get_vocab_size(True)
    random_texts = ("".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 14)))
                    for _ in range(n))
    for text in [*TEXTS, *random_texts]:
        library.encode_special_tokens = False
        ids = library.encode(text, add_special_tokens=False).ids
        library.encode_special_tokens = True
        plain = library.encode(text, add_special_tokens=False).ids
        random_ids = [rng.randrange(size) for _ in range(8)]
        yield dict(text=text, ids=ids, plain_ids=plain, random_ids=random_ids,
                   decoded=library.decode(random_ids, skip_special_tokens=False),
                   decoded_without_special=library.decode(random_ids, skip_special_tokens=True))


def main():
    rng = random.Random(int(sys.argv[1]))
    result = [dict(tokenizer=spec, cases=list(cases(spec, rng, int(sys.argv[2]))))
              for spec in tokenizers_to_test()]
    print("[" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in result) + "]")


if __name__ == "__main__":
    main()
