"""Sending an export to the Hugging Face hub, as one commit of a dataset that is private unless asked otherwise.

The token is what `hf auth login` or HF_TOKEN left; it is given to nobody but the hub, and no message repeats it. The
ledger stays here: it quotes what was left out, personal data among it. Imports huggingface_hub only when it is needed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cai.core.errors import StoreError, UsageError
from cai.core.redaction import know

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_MESSAGE = "Export of cai"
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class HubTarget:
    """A dataset on the hub that may be written to: its name, whether all may see it, and the token."""

    name: str
    public: bool
    token: SecretStr


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where an export lies on the hub, and whether only those invited see it."""

    url: str
    private: bool


def hub_target(name: str, *, public: bool) -> HubTarget:
    """Return where to send an export; raises UsageError for what is no name, or when there is no token."""
    from huggingface_hub import get_token  # noqa: PLC0415  (it takes half a second to import)
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # noqa: PLC0415

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UsageError(
            f"{name[:100]!r} is no name of a dataset on the hub; give --push-to-hub OWNER/NAME, of letters, digits, "
            "and - _ . between them."
        ) from None
    token = get_token()
    if token is None:
        raise UsageError("there is no token for the hub; set HF_TOKEN, or run `hf auth login` once.")
    know([token])
    return HubTarget(name, public, SecretStr(token))


def push(files: Mapping[str, Path], obsolete: frozenset[str], target: HubTarget) -> Pushed:
    """Send files under their names there, and remove those of the obsolete names, in one commit.

    Raises UsageError when the dataset is public and that was not asked for, StoreError when the hub cannot be reached
    or refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi  # noqa: PLC0415

    api = HfApi(token=target.token.get_secret_value())
    with _one_sentence(api, target):
        made = api.create_repo(target.name, private=not target.public, repo_type="dataset", exist_ok=True)
        found = api.dataset_info(made.repo_id)
    private = bool(found.private)
    if not private and not target.public:
        raise UsageError(f"{made.repo_id} is public on the hub; --public says that all may see this export too.")
    there = {sibling.rfilename for sibling in found.siblings or ()}
    gone = sorted(there & obsolete - set(files))
    with _one_sentence(api, target):
        api.create_commit(
            made.repo_id,
            [
                *(CommitOperationAdd(name, path) for name, path in files.items()),
                *(CommitOperationDelete(name, is_folder=False) for name in gone),
            ],
            commit_message=_MESSAGE,
            repo_type="dataset",
        )
    return Pushed(f"{api.endpoint}/datasets/{made.repo_id}", private)


@contextmanager
def _one_sentence(api: "HfApi", target: HubTarget) -> Iterator[None]:
    """Turn whatever the library raises into a StoreError with its first line; what it draws meanwhile is not shown."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    from huggingface_hub.utils.tqdm import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code in _REFUSED:
            raise StoreError(
                f"the hub refuses to write {target.name} ({error.response.status_code}); the token needs the right to "
                "write there. The export lies in the run."
            ) from error
        raise StoreError(
            f"the hub did not take {target.name}: {_reason(error)}. The export lies in the run."
        ) from error
    except Exception as error:
        # The library does not list what it raises: its own, those of the HTTP client beneath, and of the uploader.
        raise StoreError(
            f"{target.name} did not come to {api.endpoint} ({_reason(error)}). The export lies in the run; the same "
            "command sends it."
        ) from error
    finally:
        if shown:
            enable_progress_bars()


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
