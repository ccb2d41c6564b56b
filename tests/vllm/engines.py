"""Whether xgrammar and llguidance take texts by their schemas; run by the Python of vLLM, which has
both: JSON lines of schema and text in, the number of each line that an engine refuses out.
"""

import json
import sys


def by_llguidance(schema: str, text: str) -> bool:
    import llguidance

    tokenizer = llguidance.LLTokenizer("byte")
    grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
    matcher = llguidance.LLMatcher(tokenizer, grammar)
    ids = tokenizer.tokenize_bytes(text.encode())
    return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())


def by_xgrammar(schema: str, text: str) -> bool:
    import xgrammar

    vocabulary = [*(bytes([byte]) for byte in range(256)), "</s>"]
    known = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[256])
    try:
        compiled = xgrammar.GrammarCompiler(known).compile_json_schema(schema)
    except RuntimeError:
        return False
    matcher = xgrammar.GrammarMatcher(compiled)
    return bool(matcher.accept_string(text) and matcher.accept_token(256))


pairs = [json.loads(line) for line in sys.stdin]
print(
    json.dumps(
        {
            engine.__name__: [n for n, pair in enumerate(pairs) if not engine(*pair)]
            for engine in (by_llguidance, by_xgrammar)
        }
    )
)
