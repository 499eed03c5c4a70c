"""Evaluations to look at: hardest trials first, the same numbers as in results.json."""

import json
from pathlib import Path

import numpy as np
import pytest
from voiceface.studio.evaluations import Evaluations, ResultsFileError

from conftest import run

LIST = "match_g_v2f_2_test"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A small population, and two evaluations of random embeddings on one of its lists."""
    from voiceface.association.data import load_split
    from voiceface.association.trial_lists import load_trial_lists
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.evaluation.evaluator import evaluate
    from voiceface.evaluation.protocol import Protocol
    from voiceface.synthetic.writer import write_population

    root = tmp_path_factory.mktemp("evaluated")
    sizes = {"train": 0, "val": 0, "test": 12, "clips": 1, "images": 1}
    data = write_population(root / "data", "tiny", **sizes, workers=1, progress=False)
    corpus = load_split(data, "test")
    lists = load_trial_lists(data, [LIST, "reterival_v2f_test"], corpus)
    folders = []
    for seed, name in enumerate(("first", "second")):
        rng = np.random.default_rng(seed)
        tables = []
        for items in (
            [item for record in corpus.records for item in record.voices],
            [item for record in corpus.records for item in record.faces],
        ):
            tables.append(EmbeddingTable(items, rng.normal(size=(len(items), 8)).astype(np.float32)))
        folder = root / name
        folder.mkdir()
        evaluate(Protocol("lists", lists), *tables, corpus).save(folder / "results.json")
        for table, file in zip(tables, ("voices.npz", "faces.npz")):
            table.save(folder / file)
        folders.append(folder)
    return data, folders


def test_the_hardest_trials_come_first(evaluated):
    data, folders = evaluated
    shown = {}
    page = Evaluations(folders, data).trials(LIST, lambda entry: shown.update({entry.id: entry}), count=1000)
    margins = []
    for trial in page.trials:
        assert [each.is_right for each in trial.candidates] == [True, False]
        assert trial.candidates[0].identity == trial.identity != trial.candidates[1].identity
        by_system = [trial.candidates[0].scores[i] - trial.candidates[1].scores[i] for i in (0, 1)]
        assert [float(margin > 0) for margin in by_system] == trial.results
        margins.append((np.mean(trial.results), round(float(np.mean(by_system)), 3)))
        assert {trial.probe, *(each.id for each in trial.candidates)} <= set(shown)
    assert margins == sorted(margins) and len(page.trials) == page.total
    assert all(entry.path.is_file() for entry in shown.values())
    for index, folder in enumerate(folders):
        stored = json.loads((folder / "results.json").read_text())
        (found,) = [each for each in stored["lists"] if each["name"] == LIST]
        accuracy = np.mean([trial.results[index] for trial in page.trials])
        assert accuracy == pytest.approx(found["metrics"]["accuracy"]["value"], abs=1e-3)


def test_queries_show_what_was_found_first(evaluated):
    data, folders = evaluated
    page = Evaluations(folders[:1], data).trials("reterival_v2f_test", lambda _: None)
    values = [trial.results[0] for trial in page.trials]
    assert values == sorted(values)
    for trial in page.trials:
        scores = [each.scores[0] for each in trial.candidates]
        assert scores == sorted(scores, reverse=True) and len(scores) == 5
        assert all((each.identity == trial.identity) == each.is_right for each in trial.candidates)


def test_evaluations_are_served(open_studio, evaluated):
    data, folders = evaluated

    async def work():
        async with open_studio(results=tuple(folders), data=data) as (client, _):
            summaries = (await client.get("/api/evaluations")).json()
            assert [each["name"] for each in summaries] == ["first", "second"]
            options = {"name": LIST, "order": "disagreement", "count": 2}
            page = (await client.get("/api/evaluations/trials", params=options)).json()
            assert len(page["trials"]) == 2
            first = page["trials"][0]
            clip = await client.get(f"/api/candidates/{first['probe']}/clip")
            assert clip.json()["seconds"] > 1
            picture = await client.get(f"/api/candidates/{first['candidates'][0]['id']}/picture.jpg")
            assert picture.content.startswith(b"\xff\xd8")
            for name in ("../../etc/passwd", "match_none", "x" * 300):
                answer = await client.get("/api/evaluations/trials", params={"name": name})
                assert answer.status_code == 422

    run(work())


def test_what_is_not_there_is_told(evaluated, tmp_path: Path):
    _, folders = evaluated
    with pytest.raises(ResultsFileError, match="--data"):
        Evaluations(folders, None).trials(LIST, lambda _: None)
    (tmp_path / "results.json").write_text('{"format": "another"}')
    with pytest.raises(ResultsFileError, match="voiceface-results"):
        Evaluations([tmp_path], None)
    with pytest.raises(FileNotFoundError):
        Evaluations([tmp_path / "absent"], None)
