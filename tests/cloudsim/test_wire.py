"""The query protocol, without a server."""

import pytest

from cloudsim.model.errors import Refused
from cloudsim.server.faults import Fault, FaultKind, FaultScript
from cloudsim.wire import xml
from cloudsim.wire.query import Params


def test_lists_are_ordered_by_number() -> None:
    """Numbered parameters come in the order of their numbers, not of their text."""
    params = Params({"Id.10": "c", "Id.2": "b", "Id.1": "a"})

    assert params.texts("Id") == ("a", "b", "c")
    params.finish()


def test_elements_read_their_own_parameters() -> None:
    """Numbered elements give their members, and lists within."""
    params = Params({"Filter.1.Name": "n", "Filter.1.Value.1": "x", "Filter.1.Value.2": "y", "Filter.2.Name": "m"})

    assert [(element.required("Name"), element.texts("Value")) for element in params.elements("Filter")] == [
        ("n", ("x", "y")),
        ("m", ()),
    ]
    params.finish()


def test_unread_parameter_is_refused() -> None:
    """A parameter that the operation does not know is never ignored."""
    params = Params({"Action": "X", "Version": "1", "Colour": "red"})
    with pytest.raises(Refused, match="Colour") as caught:
        params.finish()

    assert caught.value.code == "UnknownParameter"


@pytest.mark.parametrize(("text", "wanted"), [("true", True), ("false", False)])
def test_booleans(text: str, *, wanted: bool) -> None:
    """Booleans are the words true and false."""
    assert wanted == Params({"Flag": text}).boolean("Flag")


@pytest.mark.parametrize(("reader", "text"), [("boolean", "yes"), ("integer", "three")])
def test_wrong_values_are_refused(reader: str, text: str) -> None:
    """A value of the wrong type names the parameter."""
    with pytest.raises(Refused, match="Name") as caught:
        getattr(Params({"Name": text}), reader)("Name")

    assert caught.value.code == "InvalidParameterValue"


def test_error_shape() -> None:
    """Errors have EC2's shape: Response/Errors/Error/Code and Message, then RequestID."""
    expected = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Response><Errors><Error><Code>A.B</Code><Message>c &lt; d</Message></Error></Errors>"
        "<RequestID>r</RequestID></Response>"
    )

    assert expected.encode() == xml.error("A.B", "c < d", "r")


def test_answer_shape() -> None:
    """Answers are named after the action, lists are items, None is left out."""
    expected = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<DoXResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>'
        "<set><item><a>1</a></item><item><b>true</b></item></set></DoXResponse>"
    )

    assert expected.encode() == xml.answer("DoX", "r", {"set": [{"a": 1}, {"b": True, "c": None}], "n": None})


def test_faults_strike_in_order_and_by_operation() -> None:
    """A fault waits for its operation and its turn; two on one operation strike one after the other."""
    script = FaultScript()
    first = Fault(operation="A", kind=FaultKind.ERROR, skip=1)
    second = Fault(operation="*", kind=FaultKind.DELAY, count=2)
    script.add(first)
    script.add(second)

    assert [second, first, second, None] == [script.next(operation) for operation in ("A", "A", "B", "A")]
