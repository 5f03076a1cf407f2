"""How the page shows Markdown, and that nothing in a text becomes markup, a script or an unsafe link."""

import json
from typing import Any

import pytest

from stack.cluster import Stack
from tests.page.devtools import Browser, Page
from tests.page.talk import answer, say, until_state

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

SHOWN = """import('./page/markdown.js').then(({ Markdown }) => {
  const element = document.createElement('div')
  const markdown = new Markdown(element)
  const text = %s
  for (let at = %d; at < text.length; at += %d) markdown.update(text.slice(0, at))
  markdown.update(text)
  for (const svg of element.querySelectorAll('svg, button')) svg.remove()
  return element.innerHTML
})"""
ATTACKS = [
    "<img src=x onerror='window.hacked = 1'>",
    "<script>window.hacked = 1</script>",
    "[click](javascript:window.hacked=1)",
    "[click](java\nscript:window.hacked=1)",
    "[click]( JaVaScRiPt:window.hacked=1)",
    "[click](data:text/html,<script>window.hacked=1</script>)",
    "[click](vbscript:x) <javascript:window.hacked=1>",
    "![x](https://evil.example/track.png)",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9J3dpbmRvdy5oYWNrZWQ9MSc+)",
    "```<img src=x onerror=window.hacked=1>\n<svg onload=window.hacked=1>\n```",
    "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| <svg/onload=window.hacked=1> | c |",
    '[a](https://x.example/"onmouseover="window.hacked=1)',
    "# <iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<a href='javascript:window.hacked=1' autofocus onfocus='window.hacked=1'>x</a>",
    "__proto__ [constructor](https://x.example) {{constructor.constructor('window.hacked=1')()}}",
]  # fmt: skip
SAFE = """(() => [...document.querySelectorAll('#turns *')].flatMap((one) => [
  ...(/^(SCRIPT|IFRAME|OBJECT|EMBED|FORM|LINK|META|BASE|STYLE)$/.test(one.tagName) ? [one.tagName] : []),
  ...[...one.attributes].map(({ name }) => name).filter((name) => /^(on.*|style|srcdoc)$/.test(name)),
  ...(one.href && !/^(https?|mailto):/.test(one.href) ? [one.href] : []),
  ...(one.tagName === 'IMG' && !one.src.startsWith('data:image/png') ? [one.src] : []),
]))()"""


@pytest.fixture(scope="module")
def blank(page_stack: Stack, browser: Browser):
    with browser.page(page_stack.base_urls[0]) as page:
        yield page


def shown(page: Page, text: str, *, step: int = 1_000_000) -> Any:
    return page.run(SHOWN % (json.dumps(text), step, step))


LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** ~~e~~ `f*`", "<p>a <em>b</em> <strong>c</strong> <s>e</s> <code>f*</code></p>"),
        ("***d***", "<p><strong><em>d</em></strong></p>"),
        ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
        ("**a *b* c** *a **b** c*", "<p><strong>a <em>b</em> c</strong> <em>a <strong>b</strong> c</em></p>"),
        ("**open and *open", "<p>**open and *open</p>"),
        (r"\*no\* ``a`b``", "<p>*no* <code>a`b</code></p>"),
        ("# One\n### Three ##\ntext", "<h3>One</h3><h5>Three</h5><p>text</p>"),
        ("a\nb  \nc<br>d", "<p>a\nb  <br>c<br>d</p>"),
        ("- a\n- b\n  1. c\n  2. d\n- e", "<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li><li>e</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
        ("[a](https://x.example/b)", f'<p><a href="https://x.example/b" {LINK}>a</a></p>'),
        ("see https://x.example/a_b_c.", f'<p>see <a href="https://x.example/a_b_c" {LINK}>https://x.example/a_b_c</a>.</p>'),
        ("[a](ftp://x.example)", "<p>[a](ftp://x.example)</p>"),
        ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
        ("<b>&amp;</b>", "<p>&lt;b&gt;&amp;amp;&lt;/b&gt;</p>"),
    ],
)  # fmt: skip
def test_markdown_becomes_elements(blank: Page, text: str, html: str):
    assert shown(blank, text).replace(" </li>", "</li>") == html


@pytest.mark.parametrize("step", [1, 3])
def test_a_text_that_grows_ends_as_if_it_had_come_at_once(blank: Page, step: int):
    text = (
        "# Title\n\nSome **bold** text\nover lines.\n\n- one\n- two\n\n  with a paragraph\n\n```python\ndef f():\n\n"
        "    return 'a'  # b\n```\n\n| a | b |\n|--:|---|\n| 1 | `x` |\n\n> quote\n\n"
        "1. x\n   ```\n   y\n   ```\n\nend *it*"
    )
    assert shown(blank, text, step=step) == shown(blank, text)


LONG = {
    "stars": "*a " * 20_000,
    "brackets": "[" * 30_000,
    "ticks": "`" * 5_000 + " a",
    "quotes": "> " * 5_000 + "x",
    "pictures": "![a](" * 10_000,
    "heading": "# a" + " " * 30_000 + "b",
    "mixed": "**_" * 10_000,
    "rule": "-" + " " * 30_000 + "x",
    "table": "|" * 20_000 + "\n" + "|-" * 10_000,
    "code": "a`" * 20_000,
    "angles": "<" * 30_000,
    "addresses": "https://" * 5_000,
    "fence": "```" + " " * 30_000 + "`",
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_text_takes_long(blank: Page, text: str):
    began = blank.run("import('./page/markdown.js').then(() => performance.now())")
    shown(blank, text)
    assert blank.run("performance.now()") - began < 4000  # and far more if the time were not linear


def test_no_attack_in_an_answer_a_message_or_a_name_does_anything(page: Page):
    say(page, "say " + "\n\n".join(ATTACKS))
    until_state(page, "completed")
    assert "<img src=x onerror='window.hacked = 1'>" in answer(page)
    assert page.run(SAFE) == []
    page.run(
        "for (const link of document.querySelectorAll('.items a')) link.dispatchEvent(new MouseEvent('mouseover'))"
    )
    page.reload()
    until_state(page, "completed")
    assert page.run(SAFE) == []
    assert page.run("window.hacked") is None
    page.run("location.hash = '#/chat/' + encodeURIComponent('<img src=x onerror=window.hacked=1>')")
    page.until("document.querySelector('#problem').innerText.includes('bad_request')")
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('main img').length") == 0
