"""The command ``latechunk questions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latechunk_integrations.cli import flags as given
from latechunk_integrations.errors import OptionError


def questions_command(  # a command's parameters are its options
    documents: Annotated[
        list[Path],
        typer.Argument(help="Text files, folders of them, or .jsonl files of documents."),
    ],
    *,
    output: Annotated[Path, typer.Option(help="The .csv or .jsonl file that compare reads.")],
    llm: Annotated[
        str | None,
        typer.Option(help="module:name of a function from a prompt to text, or of a model."),
    ] = None,
    llm_url: Annotated[
        str | None,
        typer.Option(help="OpenAI-compatible address; the key is read from OPENAI_API_KEY."),
    ] = None,
    llm_model: Annotated[str, typer.Option(help="Name of the model at --llm-url.")] = "",
    number: Annotated[int, typer.Option(min=1, help="How many questions.")] = 100,
    seed: Annotated[int, typer.Option(help="Another number draws other passages.")] = 0,
) -> None:
    """Propose questions with quotes that answer them; started again, it goes on.

    Without a language model, questions are made of titles, headings, definitions and rare words.
    """
    from latechunk_integrations.evaluation import questions as asking  # noqa: PLC0415  # as others
    from latechunk_integrations.evaluation.document_files import read_documents  # noqa: PLC0415

    if llm is not None and llm_url is not None:
        raise OptionError("give --llm or --llm-url, not both")
    if llm_url is not None and not llm_model:
        raise OptionError("--llm-url needs --llm-model, the name of the model there")
    given.make_folders(output)
    found = read_documents(documents)
    done = asking.read_done(output)
    if llm is None and llm_url is None:
        known = {(each.document, each.start) for each in done}
        made = asking.propose_from_text(found, number=number, seed=seed)
        written = asking.append_questions(
            output, [each for each in made if (each.document, each.start) not in known]
        )
    else:
        model = _load_model(llm, llm_url, llm_model)
        proposals = asking.propose(found, model, number=number, seed=seed, done=done)
        written = asking.append_questions(output, proposals)
    typer.echo(f"{written} questions written to {output}, {len(done)} were there")
    typer.echo("Read them, and delete what nobody would ask, before you measure with them.")


def _load_model(llm: str | None, llm_url: str | None, llm_model: str) -> object:
    if llm_url is not None:
        from latechunk_integrations.evaluation.chat_api import open_chat  # noqa: PLC0415

        return open_chat(llm_url, llm_model)
    from latechunk_integrations.plugins import PluginKind  # noqa: PLC0415

    loaded: object = PluginKind("llm", "latechunk_integrations.llms").find(llm or "")
    return loaded
