"""The tokens of an answer, from the reports that servers send."""

import pytest

from tests.worker.backends.chunks import FINISH
from tests.worker.backends.rawserver import HEAD, sse, text
from turnwire.worker.backends.tokens import TokenCount


def counted(*reports):
    count = TokenCount()
    for report in reports:
        count.take(report)
    return count


@pytest.mark.parametrize(
    ("reports", "tokens"),
    [
        ([{"prompt_tokens": 3}, {"completion_tokens": 2}], (3, 2)),
        ([{"prompt_tokens": 3, "completion_tokens": 2}, {}], (3, 2)),
        ([{"prompt_tokens": 3, "completion_tokens": 2}, {"prompt_tokens": 0, "completion_tokens": 0}], (3, 2)),
        ([{"prompt_tokens": 3, "completion_tokens": n} for n in (0, 1, 2)], (3, 2)),
        ([{"input_tokens": 3, "output_tokens": 2}], (3, 2)),
        ([{"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 4}], (3, 2)),
        ([{"prompt_tokens": True, "completion_tokens": -1}, {"prompt_tokens": 2**31}, "many", None], (None, None)),
    ],
)
def test_a_number_never_becomes_less_or_unknown(reports, tokens):
    count = counted(*reports)
    assert (count.tokens_in, count.tokens_out) == tokens


@pytest.mark.parametrize(
    ("completion", "total", "reasoning", "out"),
    [(1499, 14_428, 2809, 4308), (1499, None, 2809, 4308), (400, 10_520, 380, 400), (400, None, 380, 400)],
)
def test_reasoning_that_is_counted_beside_the_completion_is_output(completion, total, reasoning, out):
    report = {"prompt_tokens": 10_120, "completion_tokens": completion, "total_tokens": total}
    count = counted(report | {"completion_tokens_details": {"reasoning_tokens": reasoning}})
    assert (count.tokens_out, count.reasoning_tokens) == (out, reasoning)


@pytest.mark.parametrize(
    "fields",
    [{"prompt_tokens_details": {"cached_tokens": 8}}, {"prompt_cache_hit_tokens": 8}, {"cached_tokens": 8},
     {"input_tokens_details": {"cached_tokens": 8}}],
)  # fmt: skip
def test_cached_tokens_have_many_names(fields):
    assert counted({"prompt_tokens": 9} | fields, {}).cached_tokens == 8


async def test_a_report_in_a_field_of_its_own(raw, ask):
    report = {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}
    raw.play(HEAD + sse(text("hello"), FINISH, report, "[DONE]"))
    [call] = (await ask(raw.url).run()).calls
    assert (call.tokens_in, call.tokens_out) == (3, 2)
