"""`scripts/verify-evidence`, loaded as a module: what it says of a text, and which it refuses."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nacl.exceptions import CryptoError

if TYPE_CHECKING:
    from types import ModuleType

VERIFIER = Path(__file__).parents[1] / "scripts" / "verify-evidence"
REFUSALS = (ValueError, TypeError, LookupError, RecursionError, CryptoError)


def load_verifier() -> ModuleType:
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("verify_evidence", str(VERIFIER))
    spec = importlib.util.spec_from_loader("verify_evidence", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


_VERIFIER: Any = load_verifier()


def said_of(text: str | bytes) -> list[str] | None:
    """The sentences that a text proves; None if the verifier refuses it."""
    data = text.encode() if isinstance(text, str) else text
    try:
        said: str = _VERIFIER.verify(data)
    except REFUSALS:
        return None
    return said.splitlines()[1:]
