from __future__ import annotations

import ast
import sysconfig
import textwrap
import warnings
from pathlib import Path

import pyarrow as pa
import pytest

from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

AREA = '''\
def area(radius):
    """Area of a circle.

    :param radius: its radius
    """

    # a comment that stays
    return 3.14 * radius**2  # and so does this
'''


def tree(*sources: str | None, name: str = "file") -> pa.Table:
    paths = [f"pkg/{name}{at}.py" for at in range(len(sources))]
    return pa.table({"id": paths, "text": pa.array([source and textwrap.dedent(source) for source in sources])})


def one(source: str, **options: object) -> dict:  # type: ignore[type-arg]
    (row,) = derive("code", tree(source), **options).kept.to_pylist()
    return row


def names(outcome: Outcome) -> list[str]:
    return [row["doc_id"].partition(":")[2] for row in outcome.kept.to_pylist()]


def test_a_function_loses_its_docstring_and_keeps_its_comments() -> None:
    assert one(AREA) == {
        "query_id": "pkg/file0.py:area#q0",
        "query": "Area of a circle.",
        "doc_id": "pkg/file0.py:area",
        "document": ("def area(radius):\n    # a comment that stays\n    return 3.14 * radius**2  # and so does this"),
        "label": 1,
        "origin": "derive:code",
        "source_id": "pkg/file0.py",
        "path": "pkg/file0.py",
        "name": "area",
        "line": 1,
    }


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ('def f(x): "Doubles the number."; return 2 * x', "def f(x): return 2 * x"),
        ('def f(x):\n    "Doubles the number."; return 2 * x', "def f(x):\n    return 2 * x"),
        ('def f(x):\n    "Doubles the number."  # noqa\n    return 2 * x', "def f(x):\n    # noqa\n    return 2 * x"),
        ('def f(x):\n    ("Doubles "\n     "the number.")\n    return 2 * x', "def f(x):\n    return 2 * x"),
        (
            'def f(x):\n    # first\n    "Doubles the number."\n    return 2 * x',
            "def f(x):\n    # first\n    return 2 * x",
        ),
        (
            '@a\n@b(\n  1)\ndef f(x):\n    r"""Doubles the number."""\n    return 2',
            "@a\n@b(\n  1)\ndef f(x):\n    return 2",
        ),
        ('def f(x):\r\n    """Verdoppelt die Größe."""\r\n    return "ä"\r\n', 'def f(x):\n    return "ä"'),
        ('\ufeffasync def f(x):\n\t"""Doubles the number."""\n\treturn 2', "async def f(x):\n\treturn 2"),
        ('x = "東"; y = 1\ndef f():\n    """東京 の 数 を返す。"""; return "東"', 'def f():\n    return "東"'),
        ('def f():\n    """Sets the text.\f"""\n    return """a\n  b"""', 'def f():\n    return """a\n  b"""'),
    ],
)
def test_the_docstring_alone_is_cut_wherever_it_stands(source: str, document: str) -> None:
    assert one(source)["document"] == document


def test_methods_are_moved_to_the_left_margin_with_their_decorators() -> None:
    row = one(
        '''
        class Circle:
            @property
            def area(self):
                """Area of the circle."""
                text = """
        not indented"""
                return text
        '''
    )
    assert row["name"] == "Circle.area"
    assert row["line"] == 4
    assert row["document"] == '@property\ndef area(self):\n    text = """\nnot indented"""\n    return text'


def test_functions_under_conditions_are_found_and_those_inside_functions_are_not() -> None:
    source = '''
        if x:
            def f():
                """Does the first thing."""
                def inner():
                    """Does an inner thing."""
                    return 0
                return 1
        else:
            try:
                def f():
                    """Does the second thing."""
                    return 2
            except OSError:
                def g():
                    """Does the third thing."""
                    return 3
        match x:
            case 1:
                def h():
                    """Does the fourth thing."""
                    return 4
        '''
    assert names(derive("code", tree(source))) == ["f", "f@11", "g", "h"]


def test_overloads_do_not_share_an_id() -> None:
    source = '''
        class A:
            @overload
            def f(self): ...
            def f(self):
                """Does one thing well."""
                return 1
        '''
    assert names(derive("code", tree(source))) == ["A.f@5"]


def test_classes_are_taken_when_asked_for() -> None:
    source = '''
        class A:
            """Holds the numbers of a thing."""

            size = 3

            def f(self):
                """Does one thing well."""
                return 1
        '''
    assert names(derive("code", tree(source))) == ["A.f"]
    outcome = derive("code", tree(source), classes=True)
    assert names(outcome) == ["A", "A.f"]
    assert outcome.kept["document"][0].as_py().startswith("class A:\n    size = 3\n\n    def f(self):")


@pytest.mark.parametrize(
    ("docstring", "query"),
    [
        ("Return the sum.\n\nMore about it.", "Return the sum."),
        ("\n    Return the sum\n    of all.\n    :param x: a\n    ", "Return the sum of all."),
        ("Return the sum.\n    @param x a", "Return the sum."),
        ("Return the sum.\n    Args:\n        x: a", "Return the sum."),
        ("Return the sum.\n    Returns\n    -------\n    int", "Return the sum."),
        ("Return the sum.\n    >>> f()\n    1", "Return the sum."),
        ("Return a :class:`~a.b.Sum` of ``x`` and `y`_.", "Return a Sum of x and y."),
        ("Return :py:meth:`the sum <a.b>` as::\n\n        f()", "Return the sum as:"),
        ("Return `the docs <https://x.org>`_ here.", "Return the docs here."),
        ("Args: are all summed here", "Args: are all summed here"),
        ("Keep a lone \\ud800 surrogate out.", "Keep a lone surrogate out."),
    ],
)
def test_the_query_is_prose_on_one_line(docstring: str, query: str) -> None:
    assert one(f'def f(x):\n    """{docstring}"""\n    return x')["query"] == query


def test_the_query_can_be_the_first_sentence() -> None:
    source = 'def f(x):\n    """Return the sum, e.g. of x. It is fast."""\n    return x'
    assert one(source)["query"] == "Return the sum, e.g. of x. It is fast."
    assert one(source, query="sentence")["query"] == "Return the sum, e.g. of x."


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1", "no functions"),
        ("def f():\n    return 1", "no docstring"),
        ('def f():\n    """Too short."""\n    return 1', "docstring too short"),
        ('def f():\n    """:param x: the number of it"""\n    return 1', "docstring too short"),
        ('def f():\n    """Does nothing at all."""', "nothing but a docstring"),
        ('def f():\n    """Does nothing at all."""\n    ...', "nothing but a docstring"),
        ('def f():\n    """Does nothing at all."""\n    pass', "nothing but a docstring"),
        ('def f(): pass\ndef g():\n    """Does nothing at all."""', "nothing but a docstring"),
        ("def f(:", "not valid Python"),
        ("print 'two'", "not valid Python"),
        ("x = '\0'", "not valid Python"),
        ("(" * 5000, "not valid Python"),
        ("", "no text"),
        (None, "cannot be decoded"),
        ("# Generated by the protocol buffer compiler.  DO NOT EDIT!\n" + AREA, "generated file"),
    ],
)
def test_a_file_that_gives_nothing_says_why(source: str | None, reason: str) -> None:
    outcome = derive("code", tree(source))
    assert outcome.kept.num_rows == 0
    assert outcome.rejected["reason"].to_pylist() == [reason]


@pytest.mark.parametrize("path", ["tests/a.py", "pkg/test/b.py", "test_c.py", "pkg/d_test.py", "conftest.py"])
def test_test_files_are_left_out_unless_asked_for(path: str) -> None:
    rows = pa.table({"id": [path], "text": [AREA]})
    assert derive("code", rows).rejected["reason"].to_pylist() == ["test file"]
    assert derive("code", rows, tests=True).kept.num_rows == 1


def test_files_that_only_sound_like_tests_are_read() -> None:
    rows = pa.table({"id": ["doctest.py", "latest/a.py", "unittest/case.py"], "text": [AREA] * 3})
    assert derive("code", rows).kept.num_rows == 3


def test_generated_files_can_be_asked_for() -> None:
    rows = pa.table({"id": ["a_pb2.py"], "text": [AREA]})
    assert derive("code", rows).rejected["reason"].to_pylist() == ["generated file"]
    assert derive("code", rows, generated=True).kept.num_rows == 1


def test_short_code_and_short_docstrings_can_be_left_out() -> None:
    assert derive("code", tree(AREA), min_lines=4).rejected["reason"].to_pylist() == ["code too short"]
    assert derive("code", tree(AREA), min_words=5).rejected["reason"].to_pylist() == ["docstring too short"]


def test_functions_left_out_of_a_used_file_are_counted() -> None:
    outcome = derive("code", tree(AREA + "def f(): return 1\ndef g(): return 2\n"))
    assert outcome.rejected.num_rows == 0
    assert outcome.notes == {"definitions skipped: no docstring": 2}


def test_warnings_about_the_source_are_not_shown() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one('def f():\n    """Does a thing here."""\n    return "\\d" is 1')["name"] == "f"


def test_a_thousand_branches_are_no_trouble() -> None:
    source = "if x == 0:\n    pass\n" + "".join(f"elif x == {at}:\n    pass\n" for at in range(1, 1500)) + AREA
    assert names(derive("code", tree(source))) in (["area"], [])


@pytest.mark.slow
def test_the_standard_library_gives_code_that_still_parses_and_holds_no_docstring() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for folder in (root, root / "email", root / "asyncio") for path in folder.glob("*.py"))
    texts = [path.read_text("utf-8", "replace") for path in files]
    rows = pa.table({"id": [path.relative_to(root).as_posix() for path in files], "text": texts})
    kept = derive("code", rows, classes=True).kept.to_pylist()
    assert len(kept) > 2000
    assert len({row["doc_id"] for row in kept}) == len(kept)
    for row in kept:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (node,) = ast.parse(row["document"]).body
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        assert node.name == row["name"].rpartition(".")[2]
        assert ast.get_docstring(node) is None
        assert "\n" not in row["query"]
        assert len(row["query"].split()) >= 3
