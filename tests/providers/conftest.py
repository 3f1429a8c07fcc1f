"""Failed assertions of the contract are explained as those of the tests that inherit it."""

import pytest

pytest.register_assert_rewrite("providers.contract")
