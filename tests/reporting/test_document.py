import pytest

from score_ray.reporting.document import (
    BulletList,
    Document,
    Heading,
    Paragraph,
    Picture,
    Preformatted,
    Table,
    to_html,
    to_markdown,
)

EVIL = """<b> & "it's" | {{ 1 + 1 }}"""
ESCAPED = "&lt;b&gt; &amp; &#34;it&#39;s&#34; | {{ 1 + 1 }}"


def body_of(page: str) -> str:
    return page.partition("<body>\n")[2].removesuffix("</body></html>\n")


def document(*blocks) -> Document:
    return Document("a page", blocks)


def test_every_block_has_its_html_element():
    page = to_html(
        document(
            Heading("Results"),
            Paragraph("One sentence."),
            Heading("Of one run", level=3),
            BulletList(("first", "second")),
            Table(("name", "n"), (("a", "1"), ("b", "2"))),
            Preformatted("  two\n    lines"),
        )
    )
    assert page.startswith("<!doctype html>\n")
    assert "<title>score_ray: a page</title>" in page
    assert body_of(page) == (
        "<h1>score_ray: a page</h1>\n"
        "<h2>Results</h2>\n"
        "<p>One sentence.</p>\n"
        "<h3>Of one run</h3>\n"
        "<ul>\n<li>first</li>\n<li>second</li>\n</ul>\n"
        "<table><thead><tr><th>name</th><th>n</th></tr></thead><tbody>\n"
        "<tr><td>a</td><td>1</td></tr>\n<tr><td>b</td><td>2</td></tr>\n</tbody></table>\n"
        "<pre>  two\n    lines</pre>\n"
    )


def test_every_block_has_its_markdown():
    page = to_markdown(
        document(
            Heading("Results"),
            Paragraph("One sentence."),
            BulletList(("first", "second")),
            Heading("Of one run", level=3),
            Table(("name", "n | m"), (("a", "1|2"),)),
            Preformatted("two\n\n  lines"),
        )
    )
    assert page == (
        "# a page\n\n## Results\n\nOne sentence.\n\n- first\n- second\n\n### Of one run\n\n"
        "| name | n \\| m |\n| --- | --- |\n| a | 1\\|2 |\n\n    two\n    \n      lines\n"
    )


@pytest.mark.parametrize(
    "block",
    [
        Heading(EVIL),
        Paragraph(EVIL),
        BulletList((EVIL,)),
        Table((EVIL,), ()),
        Table((), ((EVIL,),)),
        Preformatted(EVIL),
    ],
)
def test_every_text_is_escaped_in_html_and_none_is_read_as_a_template(block):
    page = to_html(Document(EVIL, (block,)))
    assert page.count(ESCAPED) == 3  # the title twice, and the block
    assert EVIL not in page


def test_a_picture_is_embedded_with_its_dark_one_and_its_caption(tmp_path):
    light, dark = tmp_path / "a.png", tmp_path / "b.png"
    light.write_bytes(b"light")
    dark.write_bytes(b"dark")
    img = '<img alt="it is" src="data:image/png;base64,bGlnaHQ=">'
    assert body_of(to_html(document(Picture("it is", light)))).endswith(f"</h1>\n{img}\n")
    both = Picture(EVIL, light, dark, EVIL)
    img = f'<img alt="{ESCAPED}" src="data:image/png;base64,bGlnaHQ=">'
    assert body_of(to_html(document(both))).endswith(
        '</h1>\n<figure>\n<picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="data:image/png;base64,ZGFyaw==">{img}</picture>\n'
        f"<figcaption>{ESCAPED}</figcaption></figure>\n"
    )


def test_markdown_leaves_pictures_out(tmp_path):
    page = to_markdown(document(Picture("gone", tmp_path / "a.png"), Paragraph("here")))
    assert page == "# a page\n\nhere\n"
