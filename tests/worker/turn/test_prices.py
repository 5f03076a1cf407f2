"""The price table: exact integers, and a file that is wrong is refused by the name of its entry."""

import subprocess
import sys

import pytest

from tests.support.clock import Clock
from turnwire.shared.errors import SettingsError
from turnwire.shared.model import ModelCall
from turnwire.shared.models_file import watch_models_file
from turnwire.shared.settings import Settings
from turnwire.shared.usage import Usage
from turnwire.shared.watched_file import LOOK_S
from turnwire.worker.turn.prices import ListedPrices, Prices

TABLE = """
version = "2026-01"
currency = "USD"
[models."small"]
input_per_million = 0.15
output_per_million = 0.60
[models."thinking"]
input_per_million = 10
output_per_million = 20
cached_input_per_million = 1
reasoning_per_million = 30
[models."tiny/4.1"]
input_per_million = 0.000000001
output_per_million = 3
"""


def prices(tmp_path, text: str) -> Prices:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return Prices.from_settings(Settings(prices_file=str(path)))


@pytest.mark.parametrize(
    ("call", "cost_nanos"),
    [
        (ModelCall("small", 1_000_000, 0), 150_000_000),
        (ModelCall("small", 1, 1), 750),
        (ModelCall("small", 0, 0), 0),
        (ModelCall("small", 2**31 - 1, 2**31 - 1), 750 * (2**31 - 1)),
        (ModelCall("thinking", 10_000, 0, cached_tokens=9_500), 5_000_000 + 9_500_000),
        (ModelCall("thinking", 0, 1000, reasoning_tokens=900), 2_000_000 + 27_000_000),
        (ModelCall("thinking", 1000, 1000), 10_000_000 + 20_000_000),
        (ModelCall("thinking", 1000, 1000, cached_tokens=2000, reasoning_tokens=2000), 1_000_000 + 30_000_000),
        (ModelCall("thinking", 1000, 0, cached_tokens=-1, reasoning_tokens=True), 10_000_000),
        (ModelCall("small", 1_000_000, 0, cached_tokens=1_000_000), 150_000_000),
        (ModelCall("tiny/4.1", 499_999, 0), 0),
        (ModelCall("tiny/4.1", 500_000, 0), 1),
        (ModelCall("tiny/4.1", 500_000, 1), 3001),
    ],
)
def test_a_call_costs_its_tokens_to_the_billionth(tmp_path, call, cost_nanos):
    used = prices(tmp_path, TABLE).used_by(call)
    assert used.cost_nanos == cost_nanos
    assert (used.currency, used.price_version, used.model_called) == ("USD", "2026-01", call.model)


@pytest.mark.parametrize(
    "call",
    [ModelCall("other", 1, 1), ModelCall("small", None, 1), ModelCall("small", 1, None), ModelCall("Small", 1, 1)],
)
def test_what_is_not_known_has_no_cost(tmp_path, call):
    assert prices(tmp_path, TABLE).used_by(call).cost_nanos is None


def test_without_a_table_no_cost_is_known():
    used = Prices.from_settings(Settings()).used_by(ModelCall("small", 1, 1))
    assert (used.cost_nanos, used.currency, used.price_version) == (None, None, None)


@pytest.mark.parametrize("tokens", [-1, 1.5, True, "7", 2**31])
def test_what_is_no_believable_count_is_unknown(tmp_path, tokens):
    used = prices(tmp_path, TABLE).used_by(ModelCall("small", tokens, 1))
    assert (used.tokens_in, used.tokens_out, used.cost_nanos) == (None, 1, None)


@pytest.mark.parametrize("name", [None, 7, "", "x" * 257, "\ud800", "a\nb"])
def test_what_is_no_name_is_unknown(tmp_path, name):
    assert prices(tmp_path, TABLE).used_by(ModelCall(name, 1, 1)).model_called is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("version = ", "not TOML"),
        ('currency = "USD"', "version"),
        ('version = 3\ncurrency = "USD"', "version"),
        ('version = "a b"\ncurrency = "USD"', "version"),
        ('version = "1"', "currency"),
        ('version = "1"\ncurrency = "usd"', "currency"),
        ('version = "1"\ncurrency = "USD"\nprices = 1', "prices"),
        ('version = "1"\ncurrency = "USD"\nmodels = 1', "models"),
        ('version = "1"\ncurrency = "USD"\nmodels.m = 1', 'models."m"'),
        ('version = "1"\ncurrency = "USD"\n[models.m]\ninput_per_million = 1', 'models."m"'),
        ('version = "1"\ncurrency = "USD"\n[models.m]\ninput_per_million = 1\noutput = 1', 'models."m"'),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_the_entry(tmp_path, text, named):
    with pytest.raises(SettingsError, match=r"TURNWIRE_PRICES_FILE: .*prices\.toml: ") as refused:
        prices(tmp_path, text)
    assert named in str(refused.value)


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "true", '"1"', "1000001", "0.0000000001", "[]"])
def test_a_wrong_price_is_refused_by_the_name_of_its_model(tmp_path, amount):
    text = f'version = "1"\ncurrency = "USD"\n[models."m"]\ninput_per_million = 1\noutput_per_million = {amount}'
    with pytest.raises(SettingsError, match=r'models\."m": output_per_million: '):
        prices(tmp_path, text)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing\.toml: No such file"):
        Prices.from_settings(Settings(prices_file=str(tmp_path / "nothing.toml")))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not TOML"):
        Prices.from_settings(Settings(prices_file=str(path)))


def test_a_worker_does_not_start_with_a_wrong_file(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text('version = "1"', encoding="utf-8")
    env = {"TURNWIRE_PRICES_FILE": str(path), "PATH": ""}
    ended = subprocess.run(
        [sys.executable, "-m", "worker"], env=env, capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == 2
    assert ended.stderr == f"turnwire worker: TURNWIRE_PRICES_FILE: {path}: currency: capital letters, as USD\n"


def test_the_prices_of_the_file_of_models_count_by_its_names_and_a_new_file_for_the_next_call(tmp_path):
    clock, path = Clock(), tmp_path / "models.toml"
    table = '[models.small]\nurl = "http://h/v1"\n[models.small.prices]\noutput_per_million = 0\ninput_per_million = '
    path.write_text(f'currency = "EUR"\nversion = "1"\n{table}0.123456789\n')
    listed = ListedPrices(watch_models_file(str(path), clock=clock))
    call = ModelCall("small", 1_000_000, 0)
    assert listed.used_by(call) == Usage(
        1, 1_000_000, 0, 123_456_789, "EUR", "1", "small", cached_tokens=None, reasoning_tokens=None
    )
    path.write_text(f'currency = "USD"\nversion = "2"\n{table}999999.999999999\ncached_input_per_million = 7\n')
    clock.now_s += LOOK_S
    assert listed.used_by(call) == Usage(
        1, 1_000_000, 0, 999_999_999_999_999, "USD", "2", "small", cached_tokens=None, reasoning_tokens=None
    )
    cached = ModelCall("small", 1_000_000, 0, cached_tokens=1_000_000)
    assert listed.used_by(cached).cost_nanos == 7_000_000_000
    assert listed.used_by(ModelCall("other", 1, 1)).cost_nanos is None


def test_a_worker_takes_the_prices_of_its_models(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text('[models.small]\nurl = "http://h/v1"\n')
    assert isinstance(Prices.from_settings(Settings(models_file=str(path))), ListedPrices)


MEASURED = {
    "it wins over the table": (ModelCall("small", 1, 1, cost_nanos=5), 5, "USD"),
    "of a model that the table does not name": (ModelCall("other", 1, 1, cost_nanos=5), 5, "USD"),
    "in a currency of its own": (ModelCall("small", 1, 1, cost_nanos=5, currency="EUR"), 5, "EUR"),
    "with a currency that is none": (ModelCall("small", 1, 1, cost_nanos=5, currency="euro"), None, None),
    "that is no amount": (ModelCall("small", 1, 1, cost_nanos=-1), None, "USD"),
    "that is too much": (ModelCall("small", 1, 1, cost_nanos=10**5000), None, "USD"),
}


@pytest.mark.parametrize("case", MEASURED)
def test_a_measured_cost(tmp_path, case):
    call, cost_nanos, currency = MEASURED[case]
    used = prices(tmp_path, TABLE).used_by(call)
    assert (used.cost_nanos, used.currency, used.price_version) == (cost_nanos, currency, None)


def test_a_measured_cost_needs_a_currency():
    assert Prices().used_by(ModelCall("small", cost_nanos=5)).cost_nanos is None
    assert Prices().used_by(ModelCall("small", cost_nanos=5, currency="USD")).cost_nanos == 5
