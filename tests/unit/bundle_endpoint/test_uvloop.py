from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.unit.bundle_endpoint import (
    test_connections,
    test_fetcher,
    test_fetcher_answers,
    test_rotating_tls,
    test_server,
)

uvloop = pytest.importorskip("uvloop")

# The kernel's loop has a TLS of its own: what leans on its inner workings is tried there too.
CASES: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    case.__name__: case
    for case in (
        test_server.test_the_answer,
        test_server.test_old_tls_is_refused,
        test_server.test_a_client_that_shakes_no_hand_is_cut_off,
        test_server.test_a_client_that_does_not_read_is_cut_off,
        test_server.test_plain_http_is_no_trouble,
        test_server.test_connections_above_the_limit_wait,
        test_server.test_stopping_with_connections_open,
        test_connections.test_many_are_served,
        test_connections.test_one_that_was_not_begun_is_closed,
        test_rotating_tls.test_each_connection_is_shown_the_certificate_of_its_time,
        test_rotating_tls.test_a_server_name_does_not_matter,
        test_rotating_tls.test_a_session_is_not_resumed,
        test_fetcher.test_https_spiffe,
        test_fetcher.test_a_server_whose_certificate_and_document_change,
        test_fetcher.test_what_an_error_says,
        test_fetcher_answers.test_a_server_that_shakes_no_hand,
        test_fetcher_answers.test_nobody_is_there,
        test_fetcher.test_a_fetch_that_is_cancelled_leaves_nothing_open,
    )
}


@pytest.mark.parametrize("case", CASES)
def test_on_uvloop(case: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(CASES[case]())
