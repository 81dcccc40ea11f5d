"""A model to the Hugging Face hub: the one file that `geoseg.models.exporting` writes, and a card where there is none.

The hub's own library uploads, with its own settings and the token of whoever is signed in; nothing else is sent.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.models.embedding import MODEL
from geoseg.models.exporting import export_model
from geoseg.models.item_document import Document
from geoseg.models.spec import HUB, ModelSpec

CARD = "README.md"


def push_model(document: Document, spec: ModelSpec, target: str, *, private: bool = False) -> str:
    """Write a model into a repository of the hub, from which ``hub:ORG/NAME`` opens it.

    Parameters
    ----------
    document, spec
        As `geoseg.models.exporting.export_model` takes them.
    target : str
        ``"hub:ORG/NAME"``; the repository is made unless it is there, and one that is there gets a new revision.
    private : bool
        Whether a new repository is seen by its owners alone.

    Returns
    -------
    str
        ``"hub:ORG/NAME@REVISION"``, which stays what was pushed.

    Raises
    ------
    OutputError
        The target is no name of a repository, or the hub refuses.
    ModelError
        The model is a graph, which has no tensors to push.
    """
    name = target.removeprefix(HUB)
    if name == target or len(name.split("/")) != 2 or "@" in name:
        raise OutputError(f"'{target}' is no repository of the hub to push to; give hub:ORG/NAME.")
    with tempfile.TemporaryDirectory() as folder:
        export_model(document, spec, Path(folder) / MODEL)
        return f"{HUB}{name}@{_upload(Path(folder), name, card(spec, name), private)}"


def _upload(folder: Path, name: str, text: str, private: bool) -> str:
    """Upload a folder, and return its commit."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
        if not api.file_exists(name, CARD):
            (folder / CARD).write_text(text, encoding="utf-8")
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="geoseg models push").oid)
    except Exception as error:  # of the library, of its HTTP client, of the system
        reason = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise OutputError(
            f"'{HUB}{name}' cannot be written ({reason}); correct the name, and sign in with 'hf auth login' or "
            "HF_TOKEN, by a token that may write there."
        ) from error


def card(spec: ModelSpec, name: str) -> str:
    """A short model card, with the metadata that the hub reads."""
    known = f"license: {spec.license.lower()}\n" if spec.license else ""
    classes = "".join(f"- {item.name}{': ' * bool(item.description)}{item.description}\n" for item in spec.classes)
    return (
        f"---\n{known}library_name: geoseg\npipeline_tag: image-segmentation\n---\n\n# {spec.name}\n\n"
        f"{spec.description}\n\nBands: {', '.join(spec.band_names)}. Classes:\n\n{classes}\n"
        f"```\ngeoseg run --input scene.tif --model {HUB}{name}\n```\n\n"
        f"`{MODEL}` holds the tensors, and in its header the STAC item (MLM extension) with scaling and classes.\n"
    )
